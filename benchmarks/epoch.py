"""What an epoch costs: against cross-entropy's, as the training set grows, and in memory.

    python -m benchmarks.epoch [--quick] [--parts cost,growth,memory] [--accelerator cpu]

- cost: each method's epoch over cross-entropy's with PreAct ResNet-18; PMNAR's at most 5 % over
  what the floating-point operations say (14 ÷ 3).
- growth: seconds over 1,000 to 50,000 samples and 10 to 1,000 classes with a tiny network; a
  line, and what its intercept consists of.
- memory: the peak over the samples, at most 10 % over networks, optimiser, gradients, activations
  and the images once.

Each part's results are files of their own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import cost, growth, memory
from benchmarks.measure import RESULTS, ROUNDS, publish
from benchmarks.runs import ABLATIONS


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, those of `--quick` in place."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default="cost,growth,memory")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--methods", default=",".join(ABLATIONS), help="of cost")
    parser.add_argument("--samples", type=int, default=256, help="of cost")
    parser.add_argument("--batch-size", type=int, default=64, help="of cost")
    parser.add_argument("--accelerator", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a few samples, one round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    args = parser.parse_args(words)
    args.width, args.sizes, args.classes = 64, growth.SAMPLES, growth.CLASSES
    args.memory_sizes = memory.SAMPLES
    if args.quick:
        args.rounds, args.samples, args.batch_size, args.width = 1, 16, 8, 8
        args.sizes, args.classes, args.memory_sizes = (256, 512, 768), (10,), (256, 512)
    return args


def main(words: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    args = parse(words)
    parts = args.parts.split(",")
    device = f"trainer.accelerator={args.accelerator}"
    if "cost" in parts:
        size = {"samples": args.samples, "batch": args.batch_size, "width": args.width}
        methods = args.methods.split(",")
        costs = cost.measure(methods, device, rounds=args.rounds, **size)
        report = {"rounds": args.rounds, **size, "methods": costs}
        publish("epoch-cost", report, cost.table(costs), args.out, words)
    if "growth" in parts:
        lines = growth.measure(args.sizes, args.classes, args.rounds, device)
        report = {"rounds": args.rounds, "lines": lines}
        publish("epoch-growth", report, growth.table(lines), args.out, words)
    if "memory" in parts:
        peaks = memory.measure(args.memory_sizes, args.accelerator)
        publish("epoch-memory", {"sizes": peaks}, memory.table(peaks), args.out, words)


if __name__ == "__main__":
    main()
