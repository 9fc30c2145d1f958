"""What an epoch costs through Lightning, with all that a run writes, over the bare mathematics.

    python -m benchmarks.overhead [--quick] [--parts digits,resnet] [--rounds 5] [--samples 512]
    python -m benchmarks.overhead --parts features [--rows 1000000] [--out folder]

An epoch is counted from its beginning to the next one's: training, the test, the ordered pass that
gives the next epoch's weights; through Lightning also metrics.csv, the logger, noise detection and
the checkpoint, each written and synced to disk. The bare loop (`benchmarks/bare.py`) writes
nothing, and ends with the same networks to the bit, which is checked. The contestants take turns.
At most 1.15 is asked for of the default run on digits and of linear classifiers on mapped features,
1.02 of PreAct ResNet-18. The features, 3 GB, are made in the system's folder of temporary files.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from benchmarks.bare import BareLoop
from benchmarks.growth import NAMES, Parts
from benchmarks.measure import (
    RESULTS,
    ROUNDS,
    Contestant,
    Result,
    against,
    interleaved,
    markdown,
    publish,
)
from benchmarks.runs import RESNET, Clock, Run, configuration, run_of
from benchmarks.synthetic import write_features
from pmnar.tasks.devices import parse_compute

BARS = {"digits": 1.15, "resnet": 1.02, "features": 1.15}
BARE = "bare"
CPU = "trainer.accelerator=cpu"


def digits() -> DictConfig:
    """The default run, but without a warm-up, whose epochs make no ordered pass."""
    return configuration(CPU, "method.warmup_epochs=0")


def resnet(samples: int, batch: int, width: int = 64) -> DictConfig:
    """PreAct ResNet-18 on images of CIFAR's shape."""
    return configuration(
        *(*RESNET, CPU, "method.warmup_epochs=0"),
        *(f"data.batch_size={batch}", f"network.width={width}"),
        images={"samples": samples, "test": min(samples, 64)},
    )


def features(folder: Path, rows: int, batch: int, width: int = 768) -> DictConfig:
    """PMNAR's linear classifiers on so many features of a width, in a new file of the folder."""
    path = write_features(folder, rows, width)
    return configuration(
        *("dataset=features", f"dataset.source.path={path}", "method=pmnar", "recipe=paper"),
        *(CPU, "compute.threads=1", "method.warmup_epochs=0", f"data.batch_size={batch}"),
    )


@contextmanager
def terminal() -> Iterator[None]:
    """Let the progress bar believe that it is drawn on a terminal, and throw away what it draws."""
    before = os.environ.get("FORCE_COLOR")
    os.environ["FORCE_COLOR"] = "1"
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        os.environ.pop("FORCE_COLOR")
        if before is not None:
            os.environ["FORCE_COLOR"] = before


class Contest:
    """One configuration's contestants; each trains from the start, and tells an epoch's seconds.

    Args:
        cfg: the run's configuration.
        epochs: how many each trains in a turn; the first, of several, does not count.
        bar: whether Lightning takes a turn with its progress bar, too.

    Attributes:
        networks: what each ended with.
        parts: for each, the seconds of the parts of its turns' last epochs.
    """

    def __init__(self, cfg: DictConfig, epochs: int, bar: bool = True) -> None:
        self.cfg, self.epochs, self.bar = cfg, epochs, bar
        self.networks: dict[str, nn.ModuleDict] = {}
        self.loop: BareLoop | None = None
        self.manner: dict[str, Any] = {}
        self.parts: dict[str, list[dict[str, float]]] = {}

    def contestants(self) -> dict[str, Contestant]:
        """Lightning first, which shows in which manner the bare loop is to compute."""
        found: dict[str, Contestant] = {
            "Lightning": lambda: self.lightning("Lightning", bar=False),
        }
        if self.bar:
            found["Lightning, bar"] = lambda: self.lightning("Lightning, bar", bar=True)
        return found | {BARE: lambda: self.bare()}

    def lightning(self, name: str, bar: bool) -> float:
        """The whole run, with or without its progress bar."""
        clock, parts = Clock(self.epochs), Parts()
        cfg = self.cfg.copy()
        cfg.trainer.enable_progress_bar = bar
        with terminal(), run_of(cfg, [clock, parts]) as run:
            run.fit()
            self.manner = manner_of(run)
            self.networks[name] = run.method.networks
        self._note(name, parts.seconds, clock.seconds[-1])
        return self._epoch(clock.seconds)

    def bare(self) -> float:
        """The same mathematics in a plain loop, a thread for each network where Lightning has."""
        with run_of(self.cfg) as run:
            self.loop = BareLoop(run, **self.manner)
            seconds = self.loop.fit(self.epochs)
        self._note(BARE, self.loop.seconds, seconds[-1])
        return self._epoch(seconds)

    def _note(self, name: str, parts: dict[str, float], epoch: float) -> None:
        whole = parts | {"rest": epoch - sum(parts.values())}
        self.parts.setdefault(name, []).append(whole)

    def _epoch(self, seconds: list[float]) -> float:
        return statistics.median(seconds[1:] or seconds)

    def same(self) -> bool:
        """Whether all contestants ended with the same networks, to the bit."""
        assert self.loop is not None
        return all(self.loop.same_networks(networks) for networks in self.networks.values())

    def ratios(self, rounds: int, warm_up: int = 1) -> Result:
        """Seconds an epoch, and how many times as long as the bare loop each other took."""
        seconds = interleaved(self.contestants(), rounds, warm_up)
        ratios = {key: found.over(seconds[BARE]) for key, found in seconds.items() if key != BARE}
        parts = {
            name: {part: statistics.median(of.get(part, 0.0) for of in found) for part in NAMES}
            for name, found in self.parts.items()
        }
        return {
            "seconds of parts": parts,
            "seconds an epoch": {key: found.plain() for key, found in seconds.items()},
            "over bare": {key: ratio.plain() for key, ratio in ratios.items()},
            "shown": {key: str(ratio) for key, ratio in ratios.items()},
        }


def manner_of(run: Run) -> dict[str, Any]:
    """How a run that is trained has computed: arguments of `BareLoop`."""
    networks = run.method.networks
    return {
        "device": run.trainer.strategy.root_device,
        "dtype": torch.bfloat16 if run.trainer.precision == "bf16-mixed" else torch.float32,
        "channels_last": networks.channels_last,
        "two_threads": networks.two_threads,
    }


def compare(name: str, cfg: DictConfig, epochs: int, rounds: int, warm_up: int = 1) -> Result:
    """A run's ratios.

    Raises:
        RuntimeError: the contestants did not end with the same networks.
    """
    # A bar that draws twice a second is nothing beside steps of seconds, and a turn takes minutes.
    contest = Contest(cfg, epochs, bar=name == "digits")
    found = contest.ratios(rounds, warm_up if name == "digits" else 0)
    if not contest.same():
        raise RuntimeError(f"{name}: Lightning and the bare loop ended with different networks")
    return found | {
        "run": name,
        "bar": BARS[name],
        "threads": parse_compute(cfg).threads,
        "two threads": contest.manner["two_threads"],
    }


def table(found: Sequence[Result]) -> str:
    """The ratios beside their bars."""
    rows = [
        [
            of["run"],
            name,
            f"2 × {of['threads']}" if of["two threads"] else str(of["threads"]),
            f"{1e3 * of['seconds an epoch'][name]['median']:.0f}",
            of["shown"][name],
            against(ratio["median"], of["bar"], at_most=True),
        ]
        for of in found
        for name, ratio in of["over bare"].items()
    ]
    head = ["run", "contestant", "threads", "ms an epoch", "÷ bare (rounds' range)", "bar"]
    return "\n\n".join([markdown(head, rows), NOTE, *(profile(of) for of in found)])


def profile(of: Result) -> str:
    """Where a run's milliseconds go, part by part: what Lightning adds to each."""
    parts = of["seconds of parts"]
    rows = [
        [part, *(f"{1e3 * parts[name][part]:.1f}" for name in parts)]
        for part in NAMES
        if any(parts[name][part] for name in parts)
    ]
    return markdown([f"{of['run']}, ms of an epoch", *parts], rows)


NOTE = (
    "An epoch, to the next one's beginning: training, test, ordered pass; through Lightning "
    "also metrics.csv, logger, detection, checkpoint. Bare takes a thread for each network where "
    "Lightning does (digits, whose run has one thread), and all ended with the same networks to "
    "the bit. Where several epochs of a contestant's turn count, their median does."
)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default="digits,resnet")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--epochs", type=int, default=5, help="of digits, a turn")
    parser.add_argument("--samples", type=int, default=512, help="of PreAct ResNet-18")
    parser.add_argument("--batch-size", type=int, default=64, help="of PreAct ResNet-18")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of features")
    parser.add_argument("--rows-a-batch", type=int, default=1024, help="of features")
    parser.add_argument(
        "--quick", action="store_true", help="narrow network, one round, no warm-up"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    args = parser.parse_args(words)
    how = {"rounds": 1, "warm_up": 0} if args.quick else {"rounds": args.rounds}
    parts = args.parts.split(",")
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            "digits": (digits(), args.epochs),
            "resnet": (resnet(args.samples, args.batch_size), 2),
        }
        if args.quick:
            runs = {"digits": (digits(), 1), "resnet": (resnet(16, 8, width=8), 1)}
        if "features" in parts:
            rows, batch = (400, 32) if args.quick else (args.rows, args.rows_a_batch)
            runs["features"] = features(Path(folder), rows, batch), 1 if args.quick else 2
        found = [compare(name, *runs[name], **how) for name in parts]
    publish("overhead", how | {"runs": found}, table(found), args.out, words)


if __name__ == "__main__":
    main()
