"""The paper's network on the real images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
LIMIT = 3 * 2**30
PROGRAM = """
import resource, sys
from hydra import compose, initialize_config_dir
from pmnar.tasks.command import config_dir
from pmnar.tasks.train import train

with initialize_config_dir(str(config_dir()), version_base="1.3"):
    cfg = compose("config", sys.argv[1:])
summary = train(cfg)
assert summary["epochs"] == 2 and summary["parameters"] == 11_171_274
assert abs(summary["detection"]["actual_noise_rate"] - 0.5) < 0.01  # a share of each class, rounded
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not (DATA / "cifar-10-batches-py").is_dir(), reason="no CIFAR-10 in data/")
def test_two_epochs_past_a_warm_up_of_one_in_under_3_gib(tmp_path: Path) -> None:
    """One ordered batch of tests an epoch: all 10,000 would take most of the time."""
    overrides = (
        *("dataset=cifar10", f"data_dir={DATA}", "dataset.train_subset=1024", "noise=sym50"),
        *("trainer.max_epochs=2", "method.warmup_epochs=1", "trainer.limit_val_batches=1"),
        *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "logger=none"),
        *("figures=false", f"runs_dir={tmp_path}"),
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *overrides],
        cwd=ROOT,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split("peak ")[1])
    print(f"peak {peak / 2**30:.2f} GiB")
    assert peak < LIMIT
