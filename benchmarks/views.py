"""How much faster the batched views are than PIL's, image by image.

    python -m benchmarks.views [--quick] [--images 1024] [--rounds 15] [--threads 1]

All contestants take turns, round by round, in one process. Published are ratios of medians, beside
the least that is asked for: 15 of the weak view, 4 of the strong ones.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.measure import RESULTS, Contestant, Result, against, interleaved, markdown, publish
from pmnar.augment import PaddedAugmentation, strong_view, weak_view

PADDING = 4
WEAK = [transforms.RandomCrop(32, padding=PADDING), transforms.RandomHorizontalFlip()]
STRONG = {
    "autoaugment": transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
    "randaugment": transforms.RandAugment(),
}
BARS = {"weak": 15.0, "autoaugment": 4.0, "randaugment": 4.0}
OURS = "batched"


class PillowImages(Dataset[Tensor]):
    """Images in memory, changed by a chain of torchvision transforms on PIL images."""

    def __init__(self, images: Tensor, change: Callable[[Image.Image], Tensor]) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.change = change

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        return self.change(Image.fromarray(self.arrays[index]))


def batched(view: PaddedAugmentation, padded: Tensor, batch_size: int) -> None:
    """One pass over the images, which are padded once and for all, gather and draws included."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(padded), generator=generator)
    for index in torch.split(order, batch_size):
        draws = view.draw(len(index), (3, 32, 32), generator)
        view.apply_padded(padded.index_select(0, index), draws)


def contestants(images: Tensor, batch_size: int, kind: str) -> dict[str, Contestant]:
    """Ours first, then PIL in a plain loop and in a DataLoader of this process."""
    policy = [STRONG[kind]] if kind in STRONG else []
    view = strong_view(PADDING, True, kind) if policy else weak_view(PADDING, True)
    padded = pad(images, (PADDING,) * 4)
    data = PillowImages(images, transforms.Compose([*WEAK, *policy, transforms.PILToTensor()]))
    loader = DataLoader(data, batch_size)

    def loop() -> None:
        for start in range(0, len(data), batch_size):
            torch.stack([data[i] for i in range(start, min(start + batch_size, len(data)))])

    return {
        OURS: lambda: batched(view, padded, batch_size),
        "PIL loop": loop,
        "PIL DataLoader": lambda: list(loader),
    }


def compare(kind: str, images: Tensor, batch_size: int, rounds: int) -> Result:
    """A view's seconds a pass by contestant, and how many times longer than ours each other is."""
    seconds = interleaved(contestants(images, batch_size, kind), rounds)
    ratios = {name: found.over(seconds[OURS]) for name, found in seconds.items() if name != OURS}
    return {
        "view": kind,
        "bar": BARS[kind],
        "seconds": {name: found.plain() for name, found in seconds.items()},
        "times": {name: ratio.plain() for name, ratio in ratios.items()},
        "shown": {name: str(ratio) for name, ratio in ratios.items()},
    }


def table(found: Sequence[Result]) -> str:
    """The ratios beside their bars."""
    rows = [
        [of["view"], name, of["shown"][name], against(times["median"], of["bar"], at_most=False)]
        for of in found
        for name, times in of["times"].items()
    ]
    return markdown(["view", "batched is faster than", "times (rounds' range)", "bar"], rows)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few images, one round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    args = parser.parse_args(words)
    if args.quick:
        args.images, args.batch_size, args.rounds = 32, 16, 1
    torch.set_num_threads(args.threads)
    shape = (args.images, 3, 32, 32)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator())
    found = [compare(kind, images, args.batch_size, args.rounds) for kind in ("weak", *STRONG)]
    sizes = {"images": args.images, "batch size": args.batch_size, "rounds": args.rounds}
    publish("views", sizes | {"views": found}, table(found), args.out, words=words)


if __name__ == "__main__":
    main()
