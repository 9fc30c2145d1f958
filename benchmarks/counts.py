"""What a step and an epoch consist of: exact counts, no timing, seconds to run.

    python -m benchmarks.counts

FLOPs are those of convolutions and matrix products, a multiply-add being two, as PyTorch's
`FlopCounterMode` has it; operators are those that PyTorch dispatches. With PreAct ResNet-18 on
3×32×32, a batch of 128. Shown too: the host reads no value from the device in any step.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import RESULTS, Result, markdown, publish
from benchmarks.meta import MetaEpoch
from benchmarks.operators import BATCH, PHASES, operators
from benchmarks.runs import ABLATIONS, RESNET, configuration, run_of
from pmnar.networks import PreActResNet18

# -- floating-point operations ---------------------------------------------------------------------


def network_flops(
    network: nn.Module | None = None, shape: Sequence[int] = (3, 32, 32)
) -> tuple[int, int]:
    """FLOPs of a network's forward of one image, and of forward and backward together."""
    network = (network or PreActResNet18(10)).to("meta")
    images = torch.empty(2, *shape, device="meta")
    with FlopCounterMode(display=False) as forward:
        network(images)
    with FlopCounterMode(display=False) as both:
        torch.autograd.backward(network(images).sum())
    return forward.get_total_flops() // 2, both.get_total_flops() // 2


class Passes(NamedTuple):
    """How often networks see an image of the training set in an epoch after the warm-up.

    Attributes:
        trained: forward and backward.
        ordered: forward alone, most of them in the ordered pass.
    """

    trained: float
    ordered: float

    def flops(self, forward: int, both: int) -> float:
        """An epoch's FLOPs an image, testing left out."""
        return self.trained * both + self.ordered * forward


class CountPasses(L.Callback):
    """Counts the images that the networks see in training and in between, tests left out.

    Args:
        epoch: the one that counts, from 0; None: all do.
    """

    def __init__(self, epoch: int | None = 1) -> None:
        self.epoch = epoch
        self.seen: Counter[bool] = Counter()

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Watch the networks."""

        def watch(network: nn.Module, args: Any) -> None:
            if trainer.training and self.epoch in (None, trainer.current_epoch):
                self.seen[torch.is_grad_enabled()] += len(args[0])

        for networks in pl_module.all_networks:
            for network in networks.values():
                _first_layer(network).register_forward_pre_hook(watch)


def _first_layer(network: nn.Module) -> nn.Module:
    """The first with weights, which images go through also where features alone are asked for."""
    return next(m for m in network.modules() if next(m.parameters(recurse=False), None) is not None)


def passes(method: str, samples: int = 24) -> Passes:
    """Counted in a run of three epochs with a tiny network."""
    counter = CountPasses()
    has_warm_up = "warmup_epochs" in configuration(f"method={method}").method
    cfg = configuration(
        f"method={method}",
        *(["method.warmup_epochs=0"] if has_warm_up else []),
        "trainer.max_epochs=3",
        "data.batch_size=8",
        "trainer.accelerator=cpu",
        "logger=none",
        images={"samples": samples, "shape": (1, 8, 8)},
        tiny=True,
    )
    with run_of(cfg, [counter]) as run:
        run.fit()
    return Passes(counter.seen[True] / samples, counter.seen[False] / samples)


def on_meta(method: str, *overrides: str, samples: int = 2 * BATCH) -> MetaEpoch:
    """An epoch's steps and an ordered pass, with PreAct ResNet-18 and the real views."""
    return MetaEpoch(
        configuration(
            *(*RESNET, f"method={method}", "optimizer.fused=false"),
            f"data.batch_size={BATCH}",
            *overrides,
            images={"samples": samples},
        )
    )


# -- the report ------------------------------------------------------------------------------------


def count(method: str, forward: int, both: int) -> Result:
    """All counts of a method, an image or a step."""
    seen, epoch = passes(method), on_meta(method)
    return {
        "method": method,
        "passes": seen._asdict(),
        "step FLOPs an image": epoch.step_flops,
        "ordered pass FLOPs an image": epoch.pass_flops,
        "epoch FLOPs an image": seen.flops(forward, both),
        "steps without a read": epoch.steps,
        **operators(method),
    }


def table(found: Sequence[Result], forward: int, both: int) -> str:
    """The counts as Markdown."""
    ce = next(of for of in found if of["method"] == "ce")["epoch FLOPs an image"]
    head = ["method", "trained, ordered", "step, GFLOP an image", "epoch, GFLOP an image", "÷ CE"]
    rows = []
    for of in found:
        each, epoch = of["passes"], of["epoch FLOPs an image"]
        step, phases = of["step FLOPs an image"], of["operators"]
        rows.append(
            [
                of["method"],
                f"{each['trained']:g}, {each['ordered']:g}",
                f"{step / 1e9:.3f}",
                f"{epoch / 1e9:.3f}",
                f"{epoch / ce:.3f}",
                *(f"{phases[phase]:.0f}" for phase in PHASES),
                str(sum(of["reads"].values())),
            ]
        )
    note = (
        f"A forward is {forward / 1e9:.3f} GFLOP an image, forward and backward {both / 1e9:.3f}: "
        "a little under three times, as the first layer needs no gradient of its input. Trained, "
        "ordered: how often an epoch's training, and its ordered pass, show an image to a network. "
        "Testing is left out. Then operators a step by phase, and reads of a device's value a step."
    )
    return f"{markdown([*head, *PHASES, 'reads'], rows)}\n\n{note}"


def main(words: Sequence[str] | None = None) -> None:
    """Count and publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=",".join(ABLATIONS))
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    args = parser.parse_args(words)
    forward, both = network_flops()
    found = [count(method, forward, both) for method in args.methods.split(",")]
    publish("counts", {"methods": found}, table(found, forward, both), args.out, words)


if __name__ == "__main__":
    main()
