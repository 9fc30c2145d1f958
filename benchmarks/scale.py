"""What PMNAR's bookkeeping between epochs costs as the training set grows: no images, no networks.

    python -m benchmarks.scale [--quick] [--classes 10,1000] [--ranks 1,2] [--out NAME]

What the ranks would have measured is drawn at random, each rank its own block; from there on all
is the library's: the exchange, the store, the weights, the means of classes. Every case runs in
processes of its own, so that its peak of memory is its own, and the cases take turns, round by
round. Written are NAME.json, with the seconds of every epoch, and NAME.md. Linux only.
"""

import argparse
import json
import multiprocessing as mp
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.measure import circumstances
from benchmarks.scale_report import PARTS, Result, slopes, tables
from pmnar.data.batches import rank_block
from pmnar.files import write_text
from pmnar.methods import PMNAR, Setting
from pmnar.methods.measurement import Measurement
from pmnar.runtime.gather import exchange_blocks
from pmnar.samples.complementary import PLACES, ComplementaryLabels

IMAGENET_21K = 14_197_122
SIZES = (50_000, 1_000_000, IMAGENET_21K // 2, IMAGENET_21K, 2 * IMAGENET_21K)
CLASSES, RANKS = (10, 1_000, 21_841), (1, 2)
QUICK_SIZES, QUICK_CLASSES = (500, 1_000, 2_000), (10, 1_000)
EVAL_BATCH = 512
EPOCHS, ROUNDS = 5, 3
LIMIT_GIB = 14.0


class Case(NamedTuple):
    """A training set's size, its classes, and the processes that share it."""

    samples: int
    classes: int
    ranks: int

    def expected_bytes(self) -> int:
        """A generous guess of the peak of all processes, beyond the interpreter's own."""
        store = min((self.classes + 7) // 8, 4 * 2 * PLACES)
        return self.ranks * self.samples * (150 + 2 * store)


def new_share(epoch: int) -> float:
    """The share of samples for which a class is predicted in `epoch` that was not before.

    Half at first, as under 50 % noise, then falling as 1 / t.
    """
    return 0.5 / epoch


def draw(
    results: dict[str, Tensor], labels: Tensor, block: range, classes: int, epoch: int
) -> None:
    """Fill a rank's block of what an ordered pass gives, in pieces."""
    step = 64 * EVAL_BATCH
    for start in block[::step]:
        part = slice(start, min(start + step, block.stop))
        given = labels[part]
        for name, rows in results.items():
            if name.startswith("prediction"):
                is_new = torch.rand(len(given)) < new_share(epoch)
                rows[part] = torch.where(is_new, torch.randint(classes, given.shape), given)
            else:
                rows[part] = torch.rand(len(given))


def room(samples: int) -> dict[str, Tensor]:
    """Results of the shapes and types that `PMNAR.measure` gives for two networks."""
    outputs = ("first", "second", "ensemble")
    floats = ["confidence first", "confidence second", *(f"top {name}" for name in outputs)]
    rooms = {name: torch.empty(samples) for name in floats}
    whole = {f"prediction {name}": torch.empty(samples, dtype=torch.int64) for name in outputs}
    return rooms | whole


def method_of(case: Case) -> PMNAR:
    """The method with a network of two numbers."""
    labels = torch.randint(case.classes, (case.samples,))
    setting = Setting(
        partial(nn.Linear, 1, 1),
        partial(torch.optim.SGD, lr=0.1),
        partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        labels,
        tuple(str(k) for k in range(case.classes)),
    )
    return PMNAR(setting, warmup_epochs=0)


@contextmanager
def timed(part: str, seconds: dict[str, list[float]]) -> Iterator[None]:
    """Note how long the block took."""
    start = time.perf_counter()
    yield
    seconds[part].append(time.perf_counter() - start)


def bookkeep(case: Case, rank: int, epochs: int) -> Result:
    """One rank's epochs: seconds of each part, bytes held and received."""
    peak_before = peak_bytes()
    torch.manual_seed(0)
    method = method_of(case)
    store = method.complementary
    assert store is not None
    blocks = [rank_block(case.samples, EVAL_BATCH, r, case.ranks) for r in range(case.ranks)]
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    torch.manual_seed(rank + 1)
    for epoch in range(1, epochs + 1):
        method.measurement = None
        results = room(case.samples)
        draw(results, method.labels, blocks[rank], case.classes, epoch)
        if case.ranks > 1:
            dist.barrier()
        with timed("exchange", seconds):
            for rows in results.values():
                exchange_blocks(rows, blocks)
        method.measurement = measured = Measurement.of(results)
        with timed("store", seconds):
            method._shrink_store(measured)
        with timed("weights", seconds):
            method._reweight(measured)
        with timed("size of the store", seconds):
            store.mean_size()
        with timed("class means", seconds):
            method._record_weights()
    others = case.samples - len(blocks[rank])
    return {
        "seconds": seconds,
        "bytes": held_bytes(method, store),
        "store": "bits" if store.slots is None else f"slots[{store.slots.shape[1]}]",
        "mean size": store.mean_size(),
        "received bytes": sum(rows.itemsize * others for rows in results.values()),
        "peak bytes": peak_bytes(),
        "peak bytes before": peak_before,
    }


def held_bytes(method: PMNAR, store: ComplementaryLabels) -> dict[str, int]:
    """The bytes that a rank keeps for its samples between epochs."""
    assert method.measurement is not None
    return {
        "labels": method.labels.nbytes,
        "weights": method.sample_weights.nbytes,
        "store": sum(buffer.nbytes for buffer in store.buffers()),
        "measurement": sum(rows.nbytes for rows in method.measurement.rows.values()),
    }


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def member(case: Case, rank: int, epochs: int, folder: Path) -> None:
    """A process of a case: writes what it found to `folder`."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of classes that random weights starve
    if case.ranks > 1:
        group = f"file://{folder}/group"
        dist.init_process_group("gloo", group, rank=rank, world_size=case.ranks)
    found = bookkeep(case, rank, epochs)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if case.ranks > 1:
        dist.destroy_process_group()


def run(case: Case, epochs: int) -> list[Result]:
    """What each rank of a case found.

    Raises:
        RuntimeError: a process failed; what it said is on stderr.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["pmnar.methods"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members = [
            context.Process(target=member, args=(case, rank, epochs, folder))
            for rank in range(case.ranks)
        ]
        for process in members:
            process.start()
        for process in members:
            process.join()
        if any(process.exitcode for process in members):
            raise RuntimeError(f"{case} failed")
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(case.ranks)]


def measure(cases: Sequence[Case], rounds: int, epochs: int, limit: float) -> list[Result]:
    """All cases in turn, round by round, but those that would need more than `limit` bytes."""
    fitting = [case for case in cases if case.expected_bytes() <= limit]
    found: dict[Case, list[list[Result]]] = {case: [] for case in fitting}
    for number in range(rounds):
        for case in fitting:
            found[case].append(run(case, epochs))
            print(f"round {number + 1}: {case}", flush=True)
    return [summary(case, found.get(case, [])) for case in cases]


def summary(case: Case, rounds: list[list[Result]]) -> Result:
    """A case's medians over rounds and epochs, of the slowest rank, and the largest's bytes."""
    result: Result = {**case._asdict(), "packed bytes": case.samples * ((case.classes + 7) // 8)}
    if not rounds:
        return result | {"skipped": f"about {case.expected_bytes() / 2**30:.0f} GiB"}
    ranks = [rank for found in rounds for rank in found]
    epochs = {
        part: [
            max(s)
            for found in rounds
            for s in zip(*(r["seconds"][part] for r in found), strict=True)
        ]
        for part in PARTS
    }
    first = ranks[0]
    return result | {
        "seconds": {part: statistics.median(values) for part, values in epochs.items()},
        "seconds of epochs": epochs,
        "bytes": first["bytes"],
        "store": first["store"],
        "mean size": first["mean size"],
        "received bytes": max(rank["received bytes"] for rank in ranks),
        "peak bytes": max(rank["peak bytes"] for rank in ranks),
        "peak bytes before": max(rank["peak bytes before"] for rank in ranks),
    }


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale"))
    parser.add_argument("--quick", action="store_true", help="a few samples, one round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--classes", type=_numbers, help="numbers of classes, such as 10,1000")
    parser.add_argument("--ranks", type=_numbers, default=RANKS, help="such as 1,2")
    parser.add_argument("--limit-gib", type=float, default=LIMIT_GIB)
    args = parser.parse_args(words)
    sizes, classes = (QUICK_SIZES, QUICK_CLASSES) if args.quick else (SIZES, CLASSES)
    classes = args.classes or classes
    cases = [Case(n, k, ranks) for n in sizes for k in classes for ranks in args.ranks]
    rounds = 1 if args.quick else args.rounds
    results = measure(cases, rounds, EPOCHS, args.limit_gib * 2**30)
    report = circumstances("scale", words) | {"threads": 1, "cases": results}
    report["slopes"] = slopes(results)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    write_text(args.out.with_suffix(".md"), tables(report))
    print(tables(report))


if __name__ == "__main__":
    main()
