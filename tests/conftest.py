"""For all tests: one thread, so that they are quick side by side; no warnings about toy runs."""

import pytest
import torch

torch.set_num_threads(1)

OF_TOY_RUNS = ("the method may be starving it", "does not have many workers", "LeafSpec")


def pytest_configure(config: pytest.Config) -> None:
    """What Lightning and the method say of runs as small as a test's."""
    for message in OF_TOY_RUNS:
        config.addinivalue_line("filterwarnings", f"ignore:.*{message}.*")
