"""All methods on the same labels, in one table.

    python -m benchmarks.ablations --out benchmarks/results/NAME dataset=cifar10 noise=sym50 ...

Further arguments are overrides, as `python -m src.train` takes them, for every method alike.
NAME.json is written after each run, so that what was measured survives an interruption, and NAME.md
at the end; a method that NAME.json already holds is not run again.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from benchmarks.measure import markdown, source
from pmnar.files import write_text
from pmnar.tasks.command import config_dir
from pmnar.tasks.train import train

METHODS = ("ce", "nl", "ml", "pm", "ce_ar", "pm_ar", "pmnar_no_reg", "pmnar")
REWEIGHTED = ("ce_ar", "pm_ar", "pmnar_no_reg", "pmnar")

Result = dict[str, Any]


def jobs(methods: list[str], balances: list[str], seeds: list[int]) -> list[tuple[str, str, int]]:
    """Every (method, weight_balance, seed); methods without weights know no balance."""
    return [
        (method, balance, seed)
        for seed in seeds
        for balance in balances
        for method in methods
        if balance == balances[0] or method in REWEIGHTED
    ]


def run(method: str, balance: str, seed: int, overrides: list[str]) -> Result:
    """Train one method and keep what the table needs."""
    mine = [f"method={method}", f"method.weight_balance={balance}", f"seed={seed}"]
    quiet = ["figures=false", "logger=none", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", [*quiet, *overrides, *mine])
    summary = train(cfg)
    keys = ("method", "seed", "accuracy", "detection", "epochs", "seconds")
    recall = {name: found["mean_last_10"] for name, found in summary["recall_per_class"].items()}
    return {
        **{key: summary[key] for key in keys},
        "recall_per_class": recall,
        "weight_balance": balance if method in REWEIGHTED else "–",
        "noise": summary["noise"],
        "hardware": summary["hardware"],
        "date": datetime.now(UTC).date().isoformat(),
        "versions": summary["versions"],
    }


def table(results: list[Result], command: str) -> str:
    """The results as Markdown: accuracy, detection, recall of each class."""
    classes = list(results[0]["recall_per_class"])
    head = ["method", "balance", "seed", "best", "last", "mean of last 10", "ensemble", "F1"]
    rows = []
    for r in results:
        first = r["accuracy"]["first"]
        ensemble = r["accuracy"].get("ensemble", {}).get("mean_last_10")
        scores = [first["best"], first["last"], first["mean_last_10"], ensemble]
        cells = [r["method"], r["weight_balance"], str(r["seed"]), *map(_percent, scores)]
        cells.append(f"{r['detection'].get('f1', float('nan')):.3f}")
        cells += [f"{recall:.2f}" for recall in r["recall_per_class"].values()]
        rows.append(cells)
    note = (
        "Accuracy of the first network on the test set in %, and of the ensemble (mean of the last "
        "10 epochs); F1 of noise detection after the last epoch; then the first network's recall "
        "of each class, mean of the last 10 epochs."
    )
    place = source({"command": command, **results[-1]})
    return "\n".join([markdown(head + classes, rows), "", note, "", place, ""])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def main() -> None:
    """Run what is missing, then write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="path without ending")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--balances", default="none,class")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    overrides: list[str] = list(args.overrides)
    stored = args.out.with_suffix(".json")
    results: list[Result] = json.loads(stored.read_text()) if stored.is_file() else []
    done = {(r["method"], r["weight_balance"], r["seed"]) for r in results}
    command = f"python -m benchmarks.ablations --out {args.out} {' '.join(overrides)}"
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for method, balance, seed in jobs(args.methods.split(","), args.balances.split(","), seeds):
        if (method, balance if method in REWEIGHTED else "–", seed) in done:
            continue
        results.append(run(method, balance, seed, overrides))
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_text(stored, json.dumps(results, indent=1) + "\n")
    if results:
        write_text(args.out.with_suffix(".md"), table(results, command))
        print(table(results, command))


if __name__ == "__main__":
    main()
