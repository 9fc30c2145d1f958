"""The paper's network on the real images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
PROGRAM = """
import resource, sys, torch
from hydra import compose, initialize_config_dir
from torch.autograd.graph import saved_tensors_hooks
from pmnar.methods import NoisyLabelMethod
from pmnar.networks import PreActResNet18
from pmnar.tasks.command import config_dir
from pmnar.tasks.train import train

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def step(self, *args):
    before.append(peak())
    return training_step(self, *args)

before, saved = [], {}
training_step, NoisyLabelMethod.training_step = NoisyLabelMethod.training_step, step
with initialize_config_dir(str(config_dir()), version_base="1.3"):
    cfg = compose("config", sys.argv[1:])
summary = train(cfg)
assert summary["epochs"] == 2 and summary["parameters"] == 11_171_274
assert abs(summary["detection"]["actual_noise_rate"] - 0.5) < 0.01  # a share of each class, rounded
print("bytes", before[0], peak(), 4 * summary["parameters"])

def keep(tensor):
    saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return tensor

with saved_tensors_hooks(keep, lambda tensor: tensor):
    PreActResNet18(10)(torch.randn(128, 3, 32, 32))
print("graph", sum(saved.values()))
"""


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not (DATA / "cifar-10-batches-py").is_dir(), reason="no CIFAR-10 in data/")
def test_two_epochs_take_the_memory_of_one_joint_backward(tmp_path: Path) -> None:
    """The graphs of two networks and two views, gradients, momenta; half as much for the rest.

    One ordered batch of tests an epoch: all 10,000 would take most of the time.
    """
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
    before, peak, parameters = map(int, done.stdout.split("bytes ")[1].split()[:3])
    graph = int(done.stdout.split("graph ")[1])
    needed = before + 2 * 2 * parameters + 2 * 2 * graph
    print(f"before {before:.2e}, needed {needed:.2e}, peak {peak:.2e} bytes: {peak / needed:.2f}")
    assert peak < 1.5 * needed
