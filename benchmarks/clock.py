r"""What an epoch of one method takes over an epoch of another, on real images, beside the FLOPs.

    python -m benchmarks.clock --methods dividemix,pmnar dataset=cifar10 data_dir=data \
        dataset.train_subset=1024 noise=sym50 network.width=16

For methods whose cost depends on what they find, such as how many labels they take for clean: both
are trained by the same recipe on the same labels, take turns, and the passes that are counted are
those of the epochs that are timed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate

from benchmarks.counts import CountPasses, Passes, network_flops
from benchmarks.measure import RESULTS, ROUNDS, Result, interleaved, markdown, publish
from benchmarks.parts import keep_part
from benchmarks.runs import Clock, configuration, run_of

TESTED = 2
TIMED = 3
"""Epochs of a run; the one before them, the first past its warm-up, may be longer."""


class Timed:
    """A method's run, up to a few epochs past its warm-up.

    Args:
        method: its name.
        warm_up: epochs, for every method.
        overrides: of the configuration.
    """

    def __init__(self, method: str, warm_up: int, overrides: Sequence[str]) -> None:
        self.cfg = configuration(
            *(f"method={method}", f"method.warmup_epochs={warm_up}", "logger=none"),
            *("dataset.recipe.max_epochs=300", *overrides),
        )
        keep_part(self.cfg, test=TESTED)
        self.epochs, self.passes = warm_up + 1 + TIMED, list[Passes]()

    def __call__(self) -> float:
        """Seconds of one of the last epochs, on average."""
        clock, counts = Clock(self.epochs), [CountPasses(self.epochs - 1 - n) for n in range(TIMED)]
        with run_of(self.cfg, [clock, *counts]) as run:
            run.fit()
            images = TIMED * len(run.data.labels.given)
        trained, ordered = (sum(count.seen[grad] for count in counts) for grad in (True, False))
        self.passes.append(Passes(trained / images, ordered / images))
        return sum(clock.seconds[-TIMED:]) / TIMED

    def flops(self) -> float:
        """An epoch's, an image, in the last round."""
        network = instantiate(self.cfg.network, num_classes=self.cfg.dataset.num_classes)
        return self.passes[-1].flops(*network_flops(network, self.cfg.dataset.image_shape))


def measure(runs: dict[str, Timed], rounds: int) -> list[Result]:
    """Each method's seconds, and FLOPs an image, over the last one's."""
    seconds = interleaved(runs, rounds)
    *_, last = runs
    found = []
    for name, run in runs.items():
        ratio, work = seconds[name].over(seconds[last]), run.flops() / runs[last].flops()
        found.append(
            {
                "method": name,
                "seconds an epoch": seconds[name].plain(),
                "passes": run.passes[-1]._asdict(),
                "over the last": ratio.plain(),
                "shown": str(ratio),
                "FLOPs over the last": work,
            }
        )
    return found


def table(found: Sequence[Result]) -> str:
    """The ratios beside those of the FLOPs."""
    last = found[-1]["method"]
    head = ["method", "trained, ordered", "s an epoch", f"÷ {last} (rounds' range)", "FLOPs ÷ its"]
    rows = [
        [
            of["method"],
            f"{of['passes']['trained']:.2f}, {of['passes']['ordered']:.2f}",
            f"{of['seconds an epoch']['median']:.2f}",
            of["shown"],
            f"{of['FLOPs over the last']:.3f}",
        ]
        for of in found
    ]
    note = (
        "Epochs past the warm-up, on real images, tests left out. Trained, ordered: how often an "
        "epoch shows an image to a network, with and without a backward."
    )
    return f"{markdown(head, rows)}\n\n{note}"


def main(words: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default="dividemix,pmnar")
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args(words)
    runs = {name: Timed(name, args.warm_up, args.overrides) for name in args.methods.split(",")}
    found = measure(runs, args.rounds)
    publish("epoch-clock", {"rounds": args.rounds, "methods": found}, table(found), args.out, words)


if __name__ == "__main__":
    main()
