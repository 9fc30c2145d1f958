"""What a number is published with."""

import torch

from pmnar.runtime.facts import hardware, versions


def test_versions_name_what_numbers_depend_on() -> None:
    found = versions()
    assert {"python", "torch", "torchvision", "lightning", "numpy"} <= found.keys()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__


def test_hardware_names_the_processor_and_the_gpus_there_are() -> None:
    found = hardware()
    assert found["cpu"]
    assert int(found["cores"]) >= 1
    assert ("gpu" in found) == torch.cuda.is_available()
