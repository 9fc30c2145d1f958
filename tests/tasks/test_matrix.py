"""Every method with every network, through the task, on one batch of real digits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from every import METHODS, warm_up

NETWORKS = {
    "small_cnn": ("network.width=8",),
    "preact_resnet18": ("network.width=8",),
    "timm": ("network.name=test_resnet",),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_one_batch(method: str, network: str, run: Callable[..., Path]) -> None:
    if network == "timm":
        pytest.importorskip("timm")
    folder = run(
        *(f"method={method}", f"network={network}", *NETWORKS[network]),
        *("trainer.fast_dev_run=true", "dataset.train_subset=100", *warm_up(method, 0)),
    )
    assert (folder / "samples.parquet").is_file()
