"""The most memory that a run takes as its training set grows, each size in a process of its own."""

import json
import multiprocessing as mp
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.measure import Result, against, markdown
from benchmarks.runs import RESNET, Clock, configuration, run_of

SAMPLES = (1_000, 10_000, 50_000)
SHAPE = (3, 32, 32)
OVER = 1.1
"""The most that the peak may be over what is accounted for, as a factor."""


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def member(samples: int, accelerator: str, path: str) -> None:
    """A process that trains two epochs on so many images, and writes its peaks to `path`.

    The network is PreAct ResNet-18, narrow on a CPU, where its width would only cost time.
    """
    width = 64 if accelerator == "cuda" else 8
    cfg = configuration(
        *(*RESNET, "method.warmup_epochs=0", f"trainer.accelerator={accelerator}"),
        *(f"network.width={width}", "network.stem_stride=2"),
        images={"samples": samples, "shape": SHAPE, "test": 512},
    )
    with run_of(cfg, [Clock(epochs=2)]) as run:
        imported = peak_bytes()
        run.fit()
        state = sum(buffer.nbytes for buffer in run.method.buffers() if samples in buffer.shape)
        place = run.data.images.place()
    found = {"place": place, "state": state, "host": peak_bytes(), "host before": imported}
    if accelerator == "cuda":
        found["device"] = torch.cuda.max_memory_allocated()
    Path(path).write_text(json.dumps(found))


def run(samples: int, accelerator: str) -> Result:
    """What a process of its own found.

    Raises:
        RuntimeError: it failed; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.runs"])
        process = context.Process(target=member, args=(samples, accelerator, str(path)))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{samples} samples failed")
        found: Result = json.loads(path.read_text())
    return found


def measure(sizes: Sequence[int], accelerator: str) -> list[Result]:
    """For each size its peaks, beside the smallest size's plus the images that are more."""
    results: list[Result] = []
    for samples in sizes:
        found = run(samples, accelerator)
        images = samples * SHAPE[0] * SHAPE[1] * SHAPE[2]
        result = {"samples": samples, "images": images, "place": found["place"]}
        for memory in ("host", "device"):
            if memory not in found:
                continue
            peak = found[memory]
            smallest = results[0][memory] if results else {"peak": peak}
            fixed = smallest["peak"] - (results[0]["images"] if results else images)
            more = images - (results[0]["images"] if results else images)
            result[memory] = {
                "peak": peak,
                "accounted for": fixed + images,
                "over": peak / (fixed + images),
                "more": (peak - smallest["peak"]) / more if more else None,
            }
        results.append(result | {"state": found["state"]})
    return results


def table(found: Sequence[Result]) -> str:
    """Peaks beside what is accounted for."""
    rows = []
    for of in found:
        for memory in ("host", "device"):
            if memory not in of:
                continue
            peak = of[memory]
            rows.append(
                [
                    f"{of['samples']:,}",
                    memory,
                    of["place"],
                    *(_megabytes(of[key]) for key in ("images", "state")),
                    _megabytes(peak["peak"]),
                    _megabytes(peak["accounted for"]),
                    f"{peak['over']:.3f}",
                    against(peak["over"], OVER, at_most=True),
                    "–" if peak["more"] is None else f"{peak['more']:.2f}",
                ]
            )
    head = ["samples", "memory", "images live", "images once, MB", "state, MB", "peak, MB"]
    head += ["accounted for, MB", "÷", "bar", "more peak ÷ more images"]
    return f"{markdown(head, rows, '---:')}\n\n{NOTE}"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f}"


NOTE = (
    "Each size in a process of its own, two epochs of PMNAR on made-up 3×32×32 images. Host: the "
    "most resident memory, the libraries included; device: the most allocated. Accounted for: the "
    "smallest size's peak (libraries, networks, optimiser, gradients, activations), and the images "
    "that are more, once. They are kept with their border of zeros, which makes them 40×40, 1.56 "
    "times as much. State: what the method keeps for each sample from epoch to epoch."
)
