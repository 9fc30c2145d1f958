"""What PMNAR and its switches give where there are few images: one command, one table.

    python -m benchmarks.small_data --part table --out benchmarks/results/small_data
    python -m benchmarks.small_data --part switches --seeds 1 --share 1/2    # and 2/2 beside it

A contestant is a method and changes of it: `pmnar+weights=relative+normalise=mean`. Each run that
ends is a line of NAME.jsonl; what is there is not run again, and NAME.md is the table of all.
Every process should have one thread: OMP_NUM_THREADS=1.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from hydra import compose, initialize_config_dir

from benchmarks.measure import circumstances, keep, results
from benchmarks.parts import equal_ratios, keep_part
from benchmarks.small_data_table import audit, numbers, table
from pmnar.tasks.command import config_dir
from pmnar.tasks.train import train

Result = dict[str, Any]

TESTED = 2000
UNEVEN = equal_ratios(1000, 60, 10)
NARROW = ("network=preact_resnet18", "network.width=8", "network.stem_stride=2")


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        overrides: of the configuration.
        epochs: of PMNAR.
        warmup: epochs of warm-up, about a thousand steps.
        sizes: of classes, where they are uneven.
    """

    overrides: tuple[str, ...]
    epochs: int
    warmup: int
    sizes: Sequence[int] | None = None


def _cifar(noise: str, images: int, epochs: int, warmup: int) -> Row:
    chosen = ("dataset=cifar10", f"noise={noise}", f"dataset.train_subset={images}", *NARROW)
    return Row(chosen, epochs, warmup)


def _fashion(noise: str, images: int | None, epochs: int, warmup: int, **more: Any) -> Row:
    chosen: tuple[str, ...] = ("dataset=fashion_mnist", f"noise={noise}", *NARROW)
    if images is not None:
        chosen = (*chosen, f"dataset.train_subset={images}")
    return Row(chosen, epochs, warmup, **more)


ROWS = {
    "CIFAR-10 sym50, 2,000": _cifar("sym50", 2000, 40, 20),
    "CIFAR-10 sym50, 4,000": _cifar("sym50", 4000, 24, 12),
    "CIFAR-10N worse, 3,000": _cifar("human_worse", 3000, 32, 16),
    "CIFAR-10N random1, 3,000": _cifar("human_random1", 3000, 32, 16),
    "Fashion sym80, 2,000": _fashion("sym80", 2000, 40, 20),
    "Fashion asym40, 2,000": _fashion("asym40", 2000, 40, 20),
    "Fashion inst40, 2,000": _fashion("inst40", 2000, 40, 20),
    "Fashion sym50, 8,000": _fashion("sym50", 8000, 14, 7),
    "Fashion uneven sym40": _fashion("sym40", None, 28, 14, sizes=UNEVEN),
    "digits sym50": Row(("dataset=digits", "noise=sym50"), 60, 10),
    "digits 10 %": Row(("dataset=digits", "noise=sym20", "noise.rate=0.1"), 60, 10),
}
FOUR = (
    "CIFAR-10N worse, 3,000",
    "Fashion sym80, 2,000",
    "Fashion uneven sym40",
    "CIFAR-10 sym50, 2,000",
)
METHODS = ("ce", "pm_ar", "pmnar", "pmnar_plus")
SWITCHES = (
    "weights=relative",
    "weights=trusted",
    "normalise=mean",
    "consistency=by_weight",
    "warmup=ready",
    "prior=uniform",
    "prior=given",
    "prior=warmup",
    "views_trained=strong_mixed",
    "neighbours=vote",
    "temperature=0.5",
    "statistics=weak",
    "weight_balance=class",
)
COSTS = {"ce": 3, "nl": 3, "ml": 4, "pm": 4, "ce_ar": 4, "pm_ar": 4, "pmnar_no_reg": 8}
PMNAR_COST = 14
"""What an epoch costs, forwards and backwards of a network: a forward 1, a backward 2."""


class Job(NamedTuple):
    """A run: a row, a contestant, a seed, and whether it may cost what PMNAR's does."""

    row: str
    contestant: str
    seed: int
    budget: str


def cost(contestant: str) -> int:
    """Of an epoch: forwards of one network, a backward counting 2."""
    if "strong_mixed" in contestant:
        return 2 * (1 + 3) + 2
    return COSTS.get(contestant.split("+")[0], PMNAR_COST)


def jobs(part: str, seeds: Sequence[int], contestants: Sequence[str]) -> Iterator[Job]:
    """The runs of a part; those that cost less than PMNAR also for as long as it costs."""
    rows = tuple(ROWS) if part == "table" else FOUR
    if not contestants:
        alone = [f"pmnar+{switch}" for switch in SWITCHES]
        contestants = METHODS if part == "table" else ("pmnar", *alone)
    for seed in seeds:
        for row in rows:
            for contestant in contestants:
                yield Job(row, contestant, seed, "cost")
                if part == "table" and cost(contestant) < PMNAR_COST:
                    yield Job(row, contestant, seed, "epochs")


def overrides(job: Job, data_dir: str) -> list[str]:
    """What a job sets beside the configuration's own."""
    row = ROWS[job.row]
    method, *changes = job.contestant.split("+")
    epochs = row.epochs
    if job.budget == "cost":
        epochs = round(epochs * PMNAR_COST / cost(job.contestant))
    own = () if job.row.startswith("digits") else ("data.batch_size=64", "optimizer.lr=0.04")
    return [
        *("figures=false", "logger=none", "trainer.enable_progress_bar=false"),
        *row.overrides,
        *own,
        "scheduler=cosine",
        f"seed={job.seed}",
        f"dataset.subset_seed={job.seed}",
        f"dataset.recipe.max_epochs={epochs}",
        f"method.warmup_epochs={row.warmup}",
        f"data_dir={data_dir}",
        f"method={method}",
        *(f"method.{change}" for change in changes),
    ]


def run(job: Job, data_dir: str, spare: int) -> Result:
    """Train, and keep what the table needs."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", overrides(job, data_dir))
    sizes = ROWS[job.row].sizes
    if cfg.dataset.name != "digits":
        own = {} if sizes is None else {"sizes": list(sizes)}
        keep_part(cfg, test=TESTED, spare=spare, seed=job.seed, **own)
    with tempfile.TemporaryDirectory() as folder:
        cfg.runs_dir = folder
        summary = train(cfg)
        samples = pq.read_table(Path(summary["run"]) / "samples.parquet")
    return {
        **job._asdict(),
        "spare": spare,
        "cost": summary["epochs"] * cost(job.contestant) / COSTS["ce"],
        **numbers(summary),
        "audit": audit(samples),
        **circumstances("small_data"),
    }


def main() -> None:
    """Run what is missing, then write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="path without ending")
    parser.add_argument("--part", choices=("table", "switches"), default="table")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--contestants", default="", help="in place of the part's own")
    parser.add_argument("--budgets", default="cost,epochs")
    parser.add_argument("--rows", default="", help="only rows whose name has one of these in it")
    parser.add_argument("--share", default="1/1", help="which of how many processes this one is")
    parser.add_argument("--spare", type=int, default=0, help="test on spare training images")
    parser.add_argument("--data", default="data", help="data_dir")
    args = parser.parse_args()
    stored = args.out.with_suffix(".jsonl")
    mine, all_of_them = map(int, args.share.split("/"))
    contestants = [name for name in args.contestants.split(",") if name]
    wanted = list(jobs(args.part, [int(s) for s in args.seeds.split(",")], contestants))
    chosen = [
        job
        for job in wanted
        if job.budget in args.budgets.split(",")
        and any(text in job.row for text in args.rows.split(","))
    ]
    for job in chosen[mine - 1 :: all_of_them]:
        if job in {Job(*(r[key] for key in Job._fields)) for r in results(stored)}:
            continue
        keep(stored, run(job, args.data, args.spare))
    text = table(results(stored))
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
