"""Tiny data sets of random images, in the official file format of each source."""

import gzip
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

ByteArray = NDArray[np.uint8]

CIFAR10_NAMES: tuple[str, ...] = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def round_robin(size: int, num_classes: int) -> list[int]:
    """Labels 0, 1, …, K−1, 0, 1, … of length `size`."""
    return [at % num_classes for at in range(size)]


def class_images(labels: Sequence[int], channels: int, side: int, seed: int = 0) -> ByteArray:
    """Noisy images of one colour a class, uint8 `[N, channels, side, side]`."""
    colours = np.random.default_rng(1234).integers(40, 216, (max(labels) + 1, channels, 1, 1))
    noise = np.random.default_rng(seed).integers(-40, 40, (len(labels), channels, side, side))
    return (colours[list(labels)] + noise).astype(np.uint8)


def save_image(path: Path, image: ByteArray) -> None:
    """Write `[C, H, W]` in the format of the file's suffix, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def idx_bytes(values: ByteArray) -> bytes:
    """The idx-ubyte form of an array of 1 or 3 dimensions."""
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


def write_mnist(
    folder: Path, train: int = 40, test: int = 20, zipped: bool = False, name: str = "MNIST"
) -> None:
    """`<name>/raw` with the four idx files, gzipped or not; labels in turn.

    torchvision's md5 sums are of the real zips: tell it of these with `trust_mnist`.
    """
    raw = folder / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for prefix, size in (("train", train), ("t10k", test)):
        labels = round_robin(size, 10)
        files = {
            f"{prefix}-images-idx3-ubyte": class_images(labels, 1, 28, seed=size)[:, 0],
            f"{prefix}-labels-idx1-ubyte": np.array(labels, dtype=np.uint8),
        }
        for file, values in files.items():
            if zipped:
                (raw / f"{file}.gz").write_bytes(gzip.compress(idx_bytes(values)))
            else:
                (raw / file).write_bytes(idx_bytes(values))


def write_fashion_mnist(
    folder: Path, train: int = 40, test: int = 20, zipped: bool = False
) -> None:
    """`FashionMNIST/raw` with the four idx files."""
    write_mnist(folder, train, test, zipped, name="FashionMNIST")


def trust_mnist(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str = "MNIST") -> None:
    """Replace torchvision's md5 sums by those of the gzipped files that were written."""
    dataset = getattr(datasets, name)
    raw = folder / name / "raw"
    sums = [(file, calculate_md5(raw / file)) for file, _ in dataset.resources]
    monkeypatch.setattr(dataset, "resources", sums)


def write_cifar10(folder: Path, train: int = 50, test: int = 20) -> None:
    """`cifar-10-batches-py` with five training batches, a test batch and the names.

    torchvision checks md5 sums: follow with `trust_cifar`.
    """
    base = folder / "cifar-10-batches-py"
    labels = round_robin(train, 10)
    images = class_images(labels, 3, 32)
    for number, chosen in enumerate(np.array_split(np.arange(train), 5), start=1):
        batch = {
            "batch_label": f"training batch {number} of 5",
            "labels": [labels[at] for at in chosen],
            "data": images[chosen].reshape(len(chosen), -1),
            "filenames": [f"{at}.png" for at in chosen],
        }
        _write_pickle(base / f"data_batch_{number}", batch)
    labels = round_robin(test, 10)
    data = class_images(labels, 3, 32, seed=1).reshape(test, -1)
    _write_pickle(base / "test_batch", {"labels": labels, "data": data})
    _write_pickle(base / "batches.meta", {"label_names": list(CIFAR10_NAMES), "num_vis": 3072})


def write_cifar100(folder: Path, train: int = 200, test: int = 100) -> None:
    """`cifar-100-python` with `train`, `test` and `meta`; follow with `trust_cifar`."""
    base = folder / "cifar-100-python"
    for seed, (file, size) in enumerate({"train": train, "test": test}.items()):
        labels = round_robin(size, 100)
        batch = {
            "fine_labels": labels,
            "coarse_labels": [label // 5 for label in labels],
            "data": class_images(labels, 3, 32, seed).reshape(size, -1),
            "filenames": [f"{at}.png" for at in range(size)],
        }
        _write_pickle(base / file, batch)
    names = [f"fine{label:02d}" for label in range(100)]
    coarse = [f"coarse{label:02d}" for label in range(20)]
    _write_pickle(base / "meta", {"fine_label_names": names, "coarse_label_names": coarse})


def trust_cifar(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str = "CIFAR10") -> None:
    """Replace torchvision's md5 sums (`CIFAR10` or `CIFAR100`) by those of the written files."""
    dataset = getattr(datasets, name)
    base = folder / dataset.base_folder
    for attribute in ("train_list", "test_list"):
        files = [file for file, _ in getattr(dataset, attribute)]
        sums = [[file, calculate_md5(base / file)] for file in files]
        monkeypatch.setattr(dataset, attribute, sums)
    meta = {**dataset.meta, "md5": calculate_md5(base / dataset.meta["filename"])}
    monkeypatch.setattr(dataset, "meta", meta)


def write_tiny_imagenet(
    folder: Path, num_classes: int = 200, per_class: int = 2, val_per_class: int = 1
) -> None:
    """`folder` as the official `tiny-imagenet-200`: 64×64 JPEGs, wnids in no particular order."""
    wnids = [f"n{(label * 7919) % 10007:08d}" for label in range(num_classes)]
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "wnids.txt", wnids)
    words = [f"{wnid}\tword {wnid}, synonym" for wnid in [*sorted(wnids), "n99999999"]]
    _write_lines(folder / "words.txt", words)
    labels = round_robin(num_classes * per_class, num_classes)
    for at, image in enumerate(class_images(labels, 3, 64)):
        wnid = wnids[labels[at]]
        name = f"{wnid}_{at // num_classes}.JPEG"
        save_image(folder / "train" / wnid / "images" / name, image)
    labels = round_robin(num_classes * val_per_class, num_classes)
    for at, image in enumerate(class_images(labels, 3, 64, seed=1)):
        save_image(folder / "val" / "images" / f"val_{at}.JPEG", image)
    rows = [f"val_{at}.JPEG\t{wnids[label]}\t0\t32\t44\t62" for at, label in enumerate(labels)]
    _write_lines(folder / "val" / "val_annotations.txt", rows)


def webvision_wnids(count: int) -> list[str]:
    """The wnids that `write_mini_webvision` uses, by label."""
    return [f"n{1440764 + 11 * label:08d}" for label in range(count)]


def write_mini_webvision(folder: Path, per_class: int = 2, num_classes: int = 52) -> None:
    """WebVision 1.0 with a few small JPEGs a class; classes from 50 on must be left out."""
    info = folder / "info"
    info.mkdir(parents=True, exist_ok=True)
    synsets = [f"{wnid} word {wnid}, more" for wnid in webvision_wnids(num_classes)]
    _write_lines(info / "synsets.txt", synsets)
    labels = round_robin(num_classes * per_class, num_classes)
    names = [f"google/q{label:04d}/image{at}.jpg" for at, label in enumerate(labels)]
    for name, image in zip(names, class_images(labels, 3, 32), strict=True):
        save_image(folder / name, image)
    rows = [f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    _write_lines(info / "train_filelist_google.txt", rows)
    for label, image in enumerate(class_images(range(num_classes), 3, 32, seed=1)):
        save_image(folder / "val_images_256" / f"val{label:06d}.jpg", image)
    rows = [f"val{label:06d}.jpg {label}" for label in range(num_classes)]
    _write_lines(info / "val_filelist.txt", rows)


def write_imagenet_val(folder: Path, flat: bool = False, num_classes: int = 52) -> None:
    """ILSVRC2012's validation images: in `val/<wnid>/`, or flat with `LOC_val_solution.csv`."""
    wnids = webvision_wnids(num_classes)
    rows = ["ImageId,PredictionString"]
    for label, image in enumerate(class_images(range(num_classes), 3, 32, seed=2)):
        name = f"ILSVRC2012_val_{label + 1:08d}"
        place = folder / "val" if flat else folder / "val" / wnids[label]
        save_image(place / f"{name}.JPEG", image)
        rows.append(f"{name},{wnids[label]} 1 2 30 31 ")
    if flat:
        _write_lines(folder / "LOC_val_solution.csv", [rows[0], *reversed(rows[1:])])


def write_image_folder(
    folder: Path,
    num_classes: int = 3,
    per_class: int = 10,
    test_per_class: int = 4,
    channels: int = 3,
    side: int = 32,
) -> None:
    """PNGs in `train/<class>/` and `test/<class>/`; in `<class>/` where `test_per_class` is 0."""
    splits = {"train": per_class, "test": test_per_class} if test_per_class else {"": per_class}
    for seed, (split, count) in enumerate(splits.items()):
        labels = round_robin(num_classes * count, num_classes)
        for at, image in enumerate(class_images(labels, channels, side, seed)):
            save_image(folder / split / f"class{labels[at]}" / f"{at:04d}.png", image)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_pickle(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
