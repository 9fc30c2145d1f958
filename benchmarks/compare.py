r"""All methods on the same labels, each by its own recipe: one command, one table.

    OMP_NUM_THREADS=1 python -m benchmarks.compare --out benchmarks/results/digits
    python -m benchmarks.compare --out NAME --noises sym50 --methods ce,pmnar,elr --epochs 40 \
        --tested 2000 recipe=small dataset=cifar10 dataset.train_subset=4000 ...

Further arguments are overrides, as `python -m src.train` takes them, for every method alike. With
`--epochs` every method has so many, and then as many as cost what those of the reference did. Each
run that ends is a line of NAME.jsonl; what is there is not run again, and NAME.md is the table.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.compare_table import COST, EPOCHS, OWN, REFERENCE, Job, job_of, table
from benchmarks.counts import CountPasses
from benchmarks.measure import Result, circumstances, keep, nowhere, results
from benchmarks.parts import keep_part
from benchmarks.runs import configuration, run_of
from benchmarks.small_data_table import audit, numbers
from pmnar.errors import InputError
from pmnar.tasks.choose import typed_keys
from pmnar.tasks.command import config_dir
from pmnar.tasks.places import read_summary


def methods() -> list[str]:
    """The names in conf/method."""
    return sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))


def run(job: Job, overrides: Sequence[str], tested: int | None = None) -> Result:
    """Train a method as a user's command does, and keep what the table needs.

    The cost is in epochs of cross-entropy, by the images that the networks saw, in training and
    between epochs: a forward counts 1, a backward 2; tests are left out.

    Args:
        job: what to train.
        overrides: for every method alike.
        tested: how many images of the test set, the first ones; None: all.
    """
    own = (f"noise={job.noise}", f"method={job.method}", f"seed={job.seed}", "logger=none")
    cfg = configuration(*overrides, *own)
    if tested is not None:
        keep_part(cfg, test=tested)
    counter = CountPasses(epoch=None)
    with run_of(cfg, [counter], typed_keys(overrides)) as training:
        training.fit()
        summary = read_summary(training.folder)
        samples = pq.read_table(training.folder / "samples.parquet")
    seen = 3 * counter.seen[True] + counter.seen[False]
    return {
        **job._asdict(),
        "overrides": [nowhere(text) for text in overrides],
        "tested": tested,
        "epochs": summary["epochs"],
        "true_labels": summary.get("true_labels", 0),
        "cost": seen / (3 * summary["samples"]),
        "detection": summary["detection"],
        **numbers(summary),
        "audit": audit(samples),
        **circumstances("compare"),
    }


def length_of(job: Job, epochs: int, found: Sequence[Result]) -> str:
    """An override: `epochs`, or as many as cost what so many of the reference's do.

    Raises:
        InputError: what the method and the reference cost is not among the results.
    """
    if job.budget == COST:
        costs: dict[Job, float] = {job_of(result): result["cost"] for result in found}
        own, reference = (
            job._replace(method=name, budget=EPOCHS) for name in (job.method, REFERENCE)
        )
        if not {own, reference} <= costs.keys():
            raise InputError(f"{REFERENCE}, and it, must have been trained for the same epochs")
        epochs = max(round(epochs * costs[reference] / costs[own]), 1)
    return f"dataset.recipe.max_epochs={epochs}"


def jobs(args: argparse.Namespace) -> Iterator[Job]:
    """What is to be run, in its order."""
    chosen = [name for name in args.methods.split(",") if name] or methods()
    budgets = (OWN,) if args.epochs is None else (EPOCHS, COST)
    seeds = map(int, args.seeds.split(","))
    for seed, noise, budget in product(seeds, args.noises.split(","), budgets):
        for method in chosen:
            if (method, budget) != (REFERENCE, COST):  # which is what its own epochs cost
                yield Job(noise, method, seed, budget)


def main() -> None:
    """Run what is missing, then write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="path without ending")
    parser.add_argument("--noises", default="sym50,asym40")
    parser.add_argument("--methods", default="", help="in place of all")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, help="of every method; then at the same cost")
    parser.add_argument("--tested", type=int, help="images of the test set, the first ones")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    stored = args.out.with_suffix(".jsonl")
    for job in jobs(args):
        found = results(stored)
        if job in map(job_of, found):
            continue
        try:
            length = [] if args.epochs is None else [length_of(job, args.epochs, found)]
            keep(stored, run(job, [*args.overrides, *length], args.tested))
        except InputError as error:  # a method that cannot do with this leaves the others theirs
            print(f"{job}: {error}", file=sys.stderr)
    text = table(results(stored))
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
