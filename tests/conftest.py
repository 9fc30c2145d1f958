"""For all tests: one thread, so that they are quick side by side; no warnings about toy runs.

Nor do they read or fill the user's cache of decoded images.
"""

import os
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)

OF_TOY_RUNS = ("the method may be starving it", "does not have many workers", "LeafSpec")


def pytest_configure(config: pytest.Config) -> None:
    """What Lightning and the method say of runs as small as a test's."""
    for message in OF_TOY_RUNS:
        config.addinivalue_line("filterwarnings", f"ignore:.*{message}.*")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the session's, for the processes that tests start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PMNAR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_rendezvous() -> Iterator[None]:
    """Where ranks meet is left in the environment by Lightning, for whatever is started next."""
    keys = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK")
    before = {key: os.environ.get(key) for key in keys}
    yield
    for key, value in before.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value
