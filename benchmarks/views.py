"""How much faster the batched views are than PIL's, image by image: `python -m benchmarks.views`.

All contestants take turns, round by round, in one process, so that a busy machine slows all of
them. Printed are ratios of medians, never times.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pmnar.augment import Augmentation, strong_view, weak_view

Contestant = Callable[[], object]
WEAK = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
STRONG = {
    "autoaugment": transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
    "randaugment": transforms.RandAugment(),
}


class PillowImages(Dataset[Tensor]):
    """Images in memory, changed by a chain of torchvision transforms on PIL images."""

    def __init__(self, images: Tensor, change: Callable[[Image.Image], Tensor]) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.change = change

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        return self.change(Image.fromarray(self.arrays[index]))


def batched(view: Augmentation, images: Tensor, batch_size: int) -> None:
    """One pass over the images: draws included."""
    generator = torch.Generator().manual_seed(0)
    for batch in torch.split(images, batch_size):
        view.apply(batch, view.draw(len(batch), (3, 32, 32), generator))


def contestants(images: Tensor, batch_size: int, kind: str) -> dict[str, Contestant]:
    """Ours first, then PIL in a plain loop and in a DataLoader of this process."""
    policy = [STRONG[kind]] if kind in STRONG else []
    view = strong_view(4, True, kind) if policy else weak_view(4, True)
    data = PillowImages(images, transforms.Compose([*WEAK, *policy, transforms.PILToTensor()]))
    loader = DataLoader(data, batch_size)

    def loop() -> None:
        for start in range(0, len(data), batch_size):
            torch.stack([data[i] for i in range(start, min(start + batch_size, len(data)))])

    return {
        "batched": lambda: batched(view, images, batch_size),
        "PIL loop": loop,
        "PIL DataLoader": lambda: list(loader),
    }


def ratios(contest: dict[str, Contestant], rounds: int) -> Iterator[tuple[str, float]]:
    """How many times slower than the first each other contestant is."""
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(rounds + 1):
        for name, run in contest.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    first, *others = (statistics.median(values[1:]) for values in seconds.values())
    yield from zip([*contest][1:], [other / first for other in others], strict=True)


def machine() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{machine()}, {arguments.threads} thread(s), torch {torch.__version__}")
    shape = (arguments.images, 3, 32, 32)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator())
    for kind in ("weak", *STRONG):
        for name, ratio in ratios(
            contestants(images, arguments.batch_size, kind), arguments.rounds
        ):
            print(f"{kind:12} {ratio:5.1f}× faster than {name}")


if __name__ == "__main__":
    main()
