"""What `benchmarks/gpu.py` measures: each part a function from its circumstances to results."""

import copy
import itertools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from benchmarks.counts import network_flops
from benchmarks.gpu_place import Place, batches, requests
from benchmarks.measure import Result, stored
from benchmarks.overhead import Contest
from benchmarks.runs import configuration, inside
from pmnar.callbacks.metrics_table import read_rows
from pmnar.methods import NoisyLabelMethod
from pmnar.methods.measurement import rows_of
from pmnar.runtime.run_folder import CONFIG
from pmnar.runtime.stop import RunStopped
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

FUSED = "compute.fused_forward=true"
BF16 = (
    *("trainer.precision=bf16-mixed", "compute.channels_last=true"),
    *("compute.fused_forward=false", "compute.compile=off"),
)
STEPS: dict[str, tuple[str, ...]] = {
    "fp32 with TF32": (*BF16, "trainer.precision=32-true", "compute.channels_last=false"),
    "bf16": (*BF16, "compute.channels_last=false"),
    "bf16, channels last": BF16,
    "bf16, channels last, fused forward": (*BF16, FUSED),
    "bf16, channels last, cuDNN chooses": (
        *BF16,
        *("trainer.deterministic=false", "+trainer.benchmark=true"),
    ),
    "bf16, channels last, SGD foreach": (*BF16, "optimizer.fused=false", "+optimizer.foreach=true"),
    "bf16, channels last, SGD loop": (*BF16, "optimizer.fused=false", "+optimizer.foreach=false"),
}
COMPILED: dict[str, tuple[str, ...]] = {
    "compile=default": (*BF16, "compute.compile=default"),
    "compile=reduce-overhead": (*BF16, "compute.compile=reduce-overhead"),
    "compile=default, fused forward": (*BF16, "compute.compile=default", FUSED),
    "compile=reduce-overhead, fused forward": (
        *BF16,
        *("compute.compile=reduce-overhead", FUSED),
    ),
}
AUTOTUNED: dict[str, tuple[str, ...]] = {
    "compile=max-autotune": (*BF16, "compute.compile=max-autotune")
}


def peak(place: Place) -> Result:
    """TFLOP/s of a large product of bf16 matrices: what this machine can do at most."""
    size = place.sizes.matrix
    a, b = (torch.randn(size, size, device=place.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = place.seconds(lambda: a @ b)
    return {"matrix": size, "TFLOP/s": 2 * size**3 / seconds / 1e12}


def step(place: Place, overrides: tuple[str, ...]) -> Result:
    """A training step, from views to updated networks, in the real method and strategy."""

    def measure(trainer: L.Trainer, method: NoisyLabelMethod) -> Result:
        cycle, numbers = itertools.cycle(batches(trainer, place)), itertools.count()

        def run() -> None:
            trainer.strategy.training_step(next(cycle), next(numbers))

        start = time.perf_counter()
        run()
        place.synchronize()
        first, seconds = time.perf_counter() - start, place.seconds(run)
        flops = step_flops(method, place.sizes.batch)
        found = {"ms": 1e3 * seconds, "first step, s": first, "TFLOP/s": flops / seconds / 1e12}
        if place.device == "cuda":
            found["peak memory, MB"] = torch.cuda.max_memory_allocated() / 1e6
        return found

    if place.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32; convolutions have it anyway
        torch.cuda.reset_peak_memory_stats()
    torch._dynamo.reset()
    found: Result = inside(place.configuration(*overrides), measure)
    return found


def step_flops(method: NoisyLabelMethod, batch: int) -> int:
    """FLOPs of a step: two networks, two views, forward and backward."""
    network = copy.deepcopy(method.networks["first"]).to("meta")
    return 4 * network_flops(network)[1] * batch


def ordered_pass(place: Place, batch: int) -> Result:
    """The pass over the training set that reweighting needs, and its share of an epoch."""

    def measure(trainer: L.Trainer, method: NoisyLabelMethod) -> Result:
        def run() -> None:
            method.ordered_pass(lambda said, batch: rows_of(said, {}, batch))

        cycle, numbers = itertools.cycle(batches(trainer, place)), itertools.count()
        one = place.seconds(lambda: trainer.strategy.training_step(next(cycle), next(numbers)))
        few = place._replace(sizes=place.sizes._replace(warm_up=1, windows=3))
        seconds = few.seconds(run, steps=1)
        steps = one * len(method.labels) / place.sizes.batch
        return {"seconds": seconds, "steps, s": steps, "share": seconds / (seconds + steps)}

    found: Result = inside(place.configuration(*BF16, f"data.eval_batch_size={batch}"), measure)
    return found


def views(place: Place, kind: str) -> Result:
    """A batch's views, from its indices to normalised images: draws, transfers and all."""

    def measure(trainer: L.Trainer, method: NoisyLabelMethod) -> Result:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.train_views = (kind,)
        cycle = itertools.cycle(list(requests(data, place, 4)))
        return {"ms": 1e3 * place.seconds(lambda: data.on_after_batch_transfer(next(cycle), 0))}

    found: Result = inside(place.configuration(*BF16), measure)
    return found


def loop(place: Place) -> Result:
    """An epoch through Lightning over the bare loop's, which ends with the same networks or not."""
    samples = place.sizes.loop_samples
    cfg = place.configuration(*BF16, "method.warmup_epochs=0", samples=samples)
    contest = Contest(cfg, epochs=1 if place.sizes.tiny else 3)
    found = contest.ratios(place.sizes.rounds)
    return found | {"same networks": contest.same(), "bar": 1.02}


def epochs(place: Place) -> Result:
    """Five real epochs of CIFAR-10, as a user trains it."""
    cfg = _real(place, 5)
    start = time.perf_counter()
    summary = train(cfg)
    wall = time.perf_counter() - start
    rows = read_rows(Path(summary["run"]) / "metrics.csv")
    return {
        "seconds of epochs": [row["seconds"] for row in rows],
        "seconds of their passes": [row["seconds_reweighting"] for row in rows],
        "seconds in all": wall,
        "accuracy": summary["accuracy"]["first"]["last"],
        "versions": summary["versions"],
    }


def whole_run(place: Place) -> Result:
    """The recipe's whole run of CIFAR-10, as much of it as there are minutes; then again.

    The run is stopped as by a user, and the next call goes on with it from its last checkpoint.
    """
    # Until the run listens itself, which it does while it trains.
    before = signal.signal(signal.SIGTERM, _stop)
    folder = (place.runs / "whole").absolute()
    stop = threading.Timer(60 * place.minutes, os.kill, (os.getpid(), signal.SIGTERM))
    stop.daemon = True
    try:
        stop.start()
        if (folder / CONFIG).is_file():
            again = resume(folder, [])
            summary = train(again.config, again.folder, again.checkpoint)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            summary = train(_real(place, None), folder)
    except RunStopped:
        rows = read_rows(folder / "metrics.csv")
        return {"unfinished": True, "epochs": len(rows), "last": rows[-1] if rows else {}}
    finally:
        stop.cancel()
        signal.signal(signal.SIGTERM, before)
    keys = ("accuracy", "detection", "epochs", "seconds", "noise", "hardware", "versions")
    accuracy = {name: found["mean_last_10"] for name, found in summary["accuracy"].items()}
    return {key: summary[key] for key in keys} | {"shown": accuracy}


def _stop(signum: int, frame: Any) -> None:
    raise RunStopped(signum)


def _real(place: Place, max_epochs: int | None) -> DictConfig:
    """CIFAR-10's recipe; the digits' where all is small."""
    dataset = "digits" if place.sizes.tiny else "cifar10"
    short = [f"trainer.max_epochs={max_epochs}", "method.warmup_epochs=1"] if max_epochs else []
    if place.sizes.tiny:
        short = ["trainer.max_epochs=2", "method.warmup_epochs=0"]
    return configuration(
        *(f"dataset={dataset}", f"data_dir={place.data_dir}", "logger=none", *short),
        *(f"trainer.accelerator={place.device}", *place.overrides),
        f"runs_dir={place.runs}",
    )


def has_images(place: Place) -> bool:
    """Whether there are real images to train on."""
    return place.sizes.tiny or (Path(place.data_dir) / "cifar-10-batches-py").is_dir()


def step_results(folder: Path) -> Result:
    """Every variant of the step that is in a folder's results and did not fail."""
    known: Result = {}
    for name in ("step", "compile", "autotune"):
        known |= stored(folder / f"gpu-{name}.json").get("variants", {})
    return {variant: of for variant, of in known.items() if "ms" in of}
