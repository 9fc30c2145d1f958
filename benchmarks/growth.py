"""Seconds an epoch as the training set and the number of classes grow, with a tiny network."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from benchmarks.measure import Contestant, Result, interleaved, markdown
from benchmarks.runs import Clock, configuration, run_of

SAMPLES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
CLASSES = (10, 100, 1_000)
TEST_IMAGES = 512
PARTS = {
    "DetectionMonitor": "detection",
    "LostClasses": "lost classes",
    "RunTables": "metrics.csv and logger",
    "RunCheckpoint": "checkpoint",
}
"""What callbacks do at an epoch's end, by their names."""
STEPS, TEST, PASS = "steps", "test", "ordered pass, store, weights"
NAMES = (STEPS, TEST, PASS, *PARTS.values(), "rest")


class Case(NamedTuple):
    """A training set's size and its number of classes."""

    samples: int
    classes: int


class Parts(L.Callback):
    """Times the parts of an epoch; put it first.

    Attributes:
        seconds: of each part of the epoch at hand.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Watch the callbacks and what the method prepares."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            name = PARTS.get(type(callback).__name__)
            if name:
                ending = self._timed(name, callback.on_train_epoch_end)
                callback.on_train_epoch_end = ending
        prepared = self._timed(PASS, pl_module._prepare)
        pl_module._prepare = prepared

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] = time.perf_counter() - start

        return timed

    def on_train_epoch_start(self, *_: Any) -> None:
        """The steps begin."""
        self._since = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """The steps have come so far."""
        self.seconds[STEPS] = time.perf_counter() - self._since

    def on_validation_start(self, *_: Any) -> None:
        """The test begins."""
        self._test = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        """The test ends."""
        self.seconds[TEST] = time.perf_counter() - self._test


def run(case: Case, device: str, found: list[dict[str, float]]) -> float:
    """Seconds of a run's second epoch; `found` gets those of its parts too."""
    clock, parts = Clock(epochs=2), Parts()
    cfg = configuration(
        device,
        "method.warmup_epochs=0",
        "data.batch_size=128",
        images={
            "samples": case.samples,
            "shape": (1, 8, 8),
            "classes": case.classes,
            "test": TEST_IMAGES,
        },
        tiny=True,
    )
    with run_of(cfg, [clock, parts]) as made:
        made.fit()
    total = clock.seconds[-1]
    found.append({**parts.seconds, "rest": total - sum(parts.seconds.values())})
    return total


def measure(
    samples: Sequence[int], classes: Sequence[int], rounds: int, device: str
) -> list[Result]:
    """For each number of classes the line through the medians, as a whole and part by part."""
    parts: dict[Case, list[dict[str, float]]] = {Case(n, k): [] for k in classes for n in samples}
    contest: dict[str, Contestant] = {
        f"{case}": partial(run, case, device, found) for case, found in parts.items()
    }
    seconds = interleaved(contest, rounds)
    results = []
    for k in classes:
        totals = [seconds[f"{Case(n, k)}"].median for n in samples]
        of_parts = {
            name: [
                float(np.median([each.get(name, 0.0) for each in parts[Case(n, k)][1:]]))
                for n in samples
            ]
            for name in NAMES
        }
        fits = {name: line_of(samples, values) for name, values in of_parts.items()}
        results.append(
            {"classes": k, "samples": list(samples), "seconds": totals}
            | line_of(samples, totals)
            | {"parts": fits, "seconds of parts": of_parts}
        )
    return results


def line_of(samples: Sequence[int], seconds: Sequence[float]) -> Result:
    """The line of least squares of relative errors: its intercept, its slope, what it leaves.

    Relative, since a busy machine's errors grow with the time: otherwise the largest sizes would
    move the intercept at will.
    """
    n, t = np.asarray(samples, dtype=float), np.asarray(seconds)
    weight = 1 / np.maximum(t, 1e-9)
    design = np.stack([np.ones_like(n), n], 1) * weight[:, None]
    (intercept, slope), *_ = np.linalg.lstsq(design, t * weight, rcond=None)
    line = intercept + slope * n
    return {
        "intercept": float(intercept),
        "slope": float(slope),
        "residuals": [float(r) for r in (t - line) * weight],
    }


def table(found: Sequence[Result]) -> str:
    """Seconds by size, the lines, and what their intercepts consist of."""
    sizes = found[0]["samples"]
    rows = [
        [
            f"{of['classes']:,}",
            *(
                f"{1e3 * t:.0f} ({100 * r:+.1f} %)"
                for t, r in zip(of["seconds"], of["residuals"], strict=True)
            ),
            f"{1e3 * of['intercept']:.1f}",
            f"{1e6 * of['slope']:.2f}",
        ]
        for of in found
    ]
    head = ["K", *(f"{n:,}: ms (off the line)" for n in sizes), "intercept, ms", "µs a sample"]
    parts = [
        [
            f"{of['classes']:,}",
            *(f"{1e3 * of['parts'][name]['intercept']:.1f}" for name in NAMES),
            *(f"{1e6 * of['parts'][name]['slope']:.2f}" for name in NAMES),
        ]
        for of in found
    ]
    ways = [*(f"{name}, ms" for name in NAMES), *(f"{name}, µs a sample" for name in NAMES)]
    return "\n\n".join([markdown(head, rows, "---:"), markdown(["K", *ways], parts, "---:"), NOTE])


NOTE = (
    "An epoch after the warm-up, to the next one's beginning: PMNAR with a network of one "
    f"convolution on 1×8×8 pixels, {TEST_IMAGES} images to test. The line is that of least "
    "squares of relative errors. Below, each part's own line: the intercepts are what an epoch "
    "takes however small the training set is, and consist of the test, of files written and "
    "synced to disk (metrics.csv, checkpoint), and of Lightning's own work."
)
