"""Every conf/noise/*.yaml makes the noise that its name says."""

import json
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from pmnar.noise import Asymmetric, CleanLabels, inject

FOLDER = Path(__file__).parents[2] / "conf" / "noise"
NAMES = (
    "clean sym20 sym40 sym50 sym80 sym90 asym10 asym30 asym40 pair45 inst40 human_aggre "
    "human_random1 human_worse human_fine matrix file"
)


def test_all_names_are_there() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(NAMES.split())


@pytest.mark.parametrize("name", NAMES.split())
def test_yaml_builds_the_noise_of_its_name(name: str) -> None:
    around = {"seed": 1, "data_dir": "data", "dataset": {"asymmetric_map": "cifar10"}}
    config = OmegaConf.create({**around, "noise": OmegaConf.load(FOLDER / f"{name}.yaml")})
    if name in ("matrix", "file"):
        config.noise.path = "some.npz"
    values = {str(key): value for key, value in config.noise.items()}
    module, kind = values.pop("_target_").rsplit(".", 1)
    assert values.pop("seed") == 1
    noise = getattr(import_module(module), kind)(**values)
    assert noise.name == name
    assert set(values) <= {field.name for field in fields(noise)}


def test_a_mapping_from_a_config_is_saved_as_json() -> None:
    noise = Asymmetric(0.5, OmegaConf.create({9: 1, "3": 5}))
    labels = inject(noise, CleanLabels(np.arange(40) % 10, 10), 1)
    assert labels.actual_rate == 0.1
    assert json.loads(labels.spec)["map"] == {"9": 1, "3": 5}
