"""PMNAR's speed on a GPU, part by part, each under ten minutes, results on disk as they come.

    python -m benchmarks.gpu [--parts step,compile,views] [--out FOLDER] [--dry-run]

Parts in order of value, with guesses of what they take, until a GPU has run them:

    peak      10 s     TFLOP/s of a large product of bf16 matrices
    step      3 min    the training step, eager: TF32, bf16, layouts, forwards, optimisers
    compile   8 min    the step compiled: default, CUDA graphs, each with two forwards and fused
    pass      2 min    the ordered pass at several batch sizes, and its share of an epoch (≤ 8 %)
    views     30 s     weak and strong views of a batch
    loop      3 min    an epoch through Lightning over a bare loop's (≤ 1.02)
    epochs    3 min    five real epochs of CIFAR-10, which has to be in --data-dir
    autotune  10 min   the step with compute.compile=max-autotune
    run       9 min    the recipe's whole run of CIFAR-10, as much as fits; again: goes on with it

A variant that is in its file already is not measured again, unless --again; one that fails is
noted with its message, and the others go on; none is begun once --minutes are over. --dry-run does
all of it on the CPU with next to nothing to compute, to see that it runs.
"""

import argparse
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks import gpu_parts as parts
from benchmarks.gpu_place import DRY, Place, Sizes
from benchmarks.measure import (
    RESULTS,
    Result,
    circumstances,
    markdown,
    publish,
    stored,
    write_report,
)

Variants = dict[str, Callable[[], Result]]
Words = dict[str, tuple[str, ...]]
PARTS = ("peak", "step", "compile", "pass", "views", "loop", "epochs", "autotune", "run")
ON_REQUEST = ("run",)
"""Not among the parts unless asked for."""
FULL_SHARE, GOAL_SHARE = 0.25, 0.4
"""Of the peak that a step should reach: at least, and as a goal."""


def variants_of(part: str, place: Place) -> Variants:
    """What a part measures, by name."""
    steps: dict[str, Words] = {
        "step": parts.STEPS,
        "compile": parts.COMPILED,
        "autotune": parts.AUTOTUNED,
    }
    if part in steps:
        return {name: partial(parts.step, place, words) for name, words in steps[part].items()}
    if part == "pass":
        sizes = place.sizes.passes
        return {f"batch {size}": partial(parts.ordered_pass, place, size) for size in sizes}
    if part == "views":
        return {kind: partial(parts.views, place, kind) for kind in ("weak", "strong")}
    single: dict[str, Callable[[Place], Result]] = {
        "peak": parts.peak,
        "loop": parts.loop,
        "epochs": parts.epochs,
        "run": parts.whole_run,
    }
    return {part: partial(single[part], place)}


def measure(part: str, variants: Variants, path: Path, again: bool, until: float) -> None:
    """A part's variants, each written to the part's file as soon as it is there."""
    report = circumstances("gpu") | {"variants": {} if again else stored(path).get("variants", {})}
    for name, run in variants.items():
        known = report["variants"].get(name, {})
        if known and not known.keys() & {"failed", "unfinished"}:
            continue
        if time.monotonic() > until:
            print(f"{part}: {name}: not begun, --minutes are over", flush=True)
            continue
        report["variants"][name] = found = attempted(run)
        write_report(path, report)
        print(f"{part}: {name}: {shown(found)}", flush=True)


def attempted(run: Callable[[], Result]) -> Result:
    """What was found, or that it failed, and why."""
    try:
        return run()
    except Exception as error:  # whatever it is, the other variants go on
        lines = traceback.format_exception_only(error)
        return {"failed": "".join(lines).strip()[:2000]}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def shown(found: Result) -> str:
    """A result's single values, on a line."""
    values = found | found.get("shown", {})
    pairs = ((k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in values.items())
    plain = (f"{key} {text}" for key, text in pairs if not isinstance(values[key], dict | list))
    return ", ".join(plain)


def table(found: Mapping[str, Result], folder: Path) -> str:
    """All variants, and what they say together."""
    rows = [
        [part, name, shown(of).replace("\n", " ").replace("|", "/")]
        for part, variants in found.items()
        for name, of in variants.items()
    ]
    said = "\n".join(f"- {line}" for line in conclusions(folder))
    return f"{markdown(['part', 'variant', 'found'], rows)}\n\n{said}"


def conclusions(folder: Path) -> Iterator[str]:
    """What the results in a folder say together."""
    known = parts.step_results(folder)
    if not known:
        return
    modes = {name: of["ms"] for name, of in known.items()}
    best = min(modes, key=lambda name: modes[name])
    yield f"fastest step: {best}, {modes[best]:.2f} ms"
    eager = modes.get("bf16, channels last")
    for name in parts.COMPILED | parts.AUTOTUNED:
        if eager and name in modes:
            yield f"{name}: {eager / modes[name]:.2f} times as fast as eager"
    peak = stored(folder / "gpu-peak.json").get("variants", {}).get("peak", {}).get("TFLOP/s")
    if peak:
        share = known[best]["TFLOP/s"] / peak
        bar = f"≥ {FULL_SHARE:.0%}, goal {GOAL_SHARE:.0%}"
        yield f"{share:.1%} of the measured peak of {peak:.0f} TFLOP/s ({bar})"
    for name, of in stored(folder / "gpu-pass.json").get("variants", {}).items():
        if "share" in of:
            yield f"ordered pass, {name}: {of['share']:.1%} of an epoch (≤ 8 %)"


@contextmanager
def nothing_compiled(wanted: bool) -> Iterator[None]:
    """In a dry run `torch.compile` is passed through, not done: it takes most of a minute."""
    before, torch._dynamo.config.disable = torch._dynamo.config.disable, wanted
    try:
        yield
    finally:
        torch._dynamo.config.disable = before


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ",".join(part for part in PARTS if part not in ON_REQUEST)
    parser.add_argument("--parts", default=default)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="of real runs")
    parser.add_argument("--data-dir", default="data", help="where CIFAR-10 is")
    parser.add_argument("--minutes", type=float, default=9.0, help="no new variant after so many")
    parser.add_argument("--again", action="store_true", help="measure what is known again")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny, with digits")
    parser.add_argument("overrides", nargs="*", help="of every run, as compute.compile=default")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and say what is fastest."""
    args = parse(words)
    unknown = set(args.parts.split(",")) - set(PARTS)
    if unknown or not (args.dry_run or torch.cuda.is_available()):
        wrong = f"there is no part {', '.join(sorted(unknown))}" if unknown else "there is no GPU"
        print(f"error: {wrong}; see --help, and --dry-run for a machine without one")
        return 2
    sizes, device = (DRY, "cpu") if args.dry_run else (Sizes(), "cuda")
    place = Place(device, sizes, args.runs, args.data_dir, args.minutes, tuple(args.overrides))
    until = time.monotonic() + 60 * args.minutes
    with nothing_compiled(args.dry_run):
        for part in args.parts.split(","):
            if part in ("epochs", "run") and not parts.has_images(place):
                print(f"{part}: skipped: no cifar-10-batches-py in {args.data_dir}", flush=True)
                continue
            path = args.out / f"gpu-{part}.json"
            measure(part, variants_of(part, place), path, args.again, until)
    files = {part: stored(args.out / f"gpu-{part}.json").get("variants", {}) for part in PARTS}
    publish("gpu", {"parts": files}, table(files, args.out), args.out, words)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
