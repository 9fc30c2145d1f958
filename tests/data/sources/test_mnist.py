import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from official_data import (
    class_images,
    round_robin,
    trust_mnist,
    write_fashion_mnist,
    write_mnist,
)
from torchvision import datasets

from pmnar.data.sources import MNIST, FashionMNIST
from pmnar.errors import InputError

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


def test_reads_unzipped_files_without_network(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    source = MNIST(tmp_path, download=False)
    source.prepare()
    data = source.load()
    labels = round_robin(40, 10)
    expected = torch.from_numpy(class_images(labels, 1, 28, seed=40))
    assert torch.equal(data.train.images, expected)
    assert data.train.labels.tolist() == labels
    assert data.train.labels.dtype == torch.int64
    assert len(data.test["test"]) == 20
    assert data.class_names == tuple("0123456789")


def test_unzips_what_is_only_there_zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion_mnist(tmp_path, zipped=True)
    trust_mnist(monkeypatch, tmp_path, "FashionMNIST")
    source = FashionMNIST(tmp_path, download=False)
    source.prepare()
    assert len(source.load().train) == 40
    assert source.load().class_names[-1] == "Ankle boot"
    raw = tmp_path / "FashionMNIST" / "raw"
    assert sorted(path.name for path in raw.glob("*[!z]")) == sorted(
        path.stem for path in raw.glob("*.gz")
    )


def test_agrees_with_torchvisions_class(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = MNIST(tmp_path).load()
    theirs = datasets.MNIST(tmp_path, train=True)
    assert torch.equal(data.train.images[:, 0], theirs.data)
    assert torch.equal(data.train.labels, theirs.targets)


def test_damaged_zip_names_file_and_both_sums(tmp_path: Path) -> None:
    write_mnist(tmp_path, zipped=True)
    with pytest.raises(InputError) as error:
        MNIST(tmp_path, download=False).prepare()
    message = str(error.value)
    assert "train-images-idx3-ubyte.gz" in message
    assert "expected f68b3c2dcbeaaa9fbdd348bbdeb94873" in message
    assert "data_dir" in message
    assert not (tmp_path / "MNIST" / "raw" / IMAGES).exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / LABELS).unlink()
    source = MNIST(tmp_path, download=False)
    for call in (source.prepare, source.load):
        with pytest.raises(InputError, match=f"put {LABELS} or {LABELS}.gz there.*data_dir"):
            call()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "no idx3-ubyte file"),
        (IMAGES, struct.pack(">4B3I", 0, 0, 8, 1, 2, 28, 28), "no idx3-ubyte file"),
        (IMAGES, struct.pack(">4B3I", 0, 0, 9, 3, 2, 28, 28), "no idx3-ubyte file"),
        (IMAGES, struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + bytes(1000), "1016 bytes.*1584"),
        (LABELS, struct.pack(">4BI", 0, 0, 8, 1, 39) + bytes(39), "40 images, but .* 39 labels"),
        (LABELS, struct.pack(">4BI", 0, 0, 8, 1, 40) + b"\x0a" * 40, "label 10 of 10 classes"),
    ],
)
def test_damaged_unzipped_file_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    write_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        MNIST(tmp_path).load()
    assert name in str(error.value)
    assert "data_dir" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.data
def test_real_fashion_mnist() -> None:
    folder = Path(__file__).parents[3] / "data"
    if not (folder / "FashionMNIST" / "raw" / IMAGES).is_file():
        pytest.skip("Fashion-MNIST is not there")
    data = FashionMNIST(folder, download=False).load()
    assert data.train.images.shape == (60_000, 1, 28, 28)
    assert data.test["test"].images.shape == (10_000, 1, 28, 28)
    assert data.train.labels.bincount().tolist() == [6000] * 10
    assert data.test["test"].labels.bincount().tolist() == [1000] * 10
    assert data.train.labels[:8].tolist() == [9, 0, 0, 3, 0, 2, 7, 2]
    assert int(data.train.images.sum(dtype=torch.int64)) == 3431114169
    assert np.allclose(data.train.images.double().mean() / 255, 0.2860, atol=5e-5)
