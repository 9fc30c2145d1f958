"""Features from files: the same from every format, mapped, and refused in a line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from feature_files import ENDINGS, digits_as_features, is_mapped_from, write

from pmnar.data import ImageData
from pmnar.data.sources import Features, feature_matrices, feature_rows
from pmnar.data.sources.cache_folder import cache_root
from pmnar.errors import InputError

Arrays = dict[str, Any]


def load(path: Path, **settings: Any) -> ImageData:
    """What a file holds."""
    source = Features(path, **settings)
    source.prepare()
    return source.load()


def cached() -> list[Path]:
    """What is kept of features."""
    return sorted(cache_root().rglob("features-*.npy"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_what_was_written(tmp_path: Path, ending: str) -> None:
    arrays = digits_as_features()
    data = load(write(tmp_path, ending, **arrays))
    assert data.class_names == tuple("0123456789")
    assert data.labels_are_true
    assert (data.given is not None, data.rows is not None) == (True, True)
    for name, split in (("train", data.train), ("test", data.test["test"])):
        rows = np.flatnonzero(arrays["split"] == name)
        assert split.images.dtype == torch.float32
        assert split.images.shape == (len(rows), 64, 1, 1)
        assert np.array_equal(split.images.flatten(1).numpy(), arrays["features"][rows])
        assert np.array_equal(split.labels.numpy(), arrays["true_labels"][rows])
        assert split.paths == tuple(arrays["paths"][rows].tolist())
        if name == "train":
            assert data.given is not None
            assert data.rows is not None
            assert np.array_equal(data.given.numpy(), arrays["labels"][rows])
            assert np.array_equal(data.rows.numpy(), rows)


def of_other_kinds(arrays: Arrays) -> dict[str, Any]:
    """The same features as other files may have them."""
    features = arrays["features"]
    kinds = {"float64": features.astype(np.float64), "int16": features.astype(np.int16)}
    return kinds | {"by column": np.asfortranarray(features), "big-endian": features.astype(">f4")}


@pytest.mark.parametrize("kind", ["float64", "int16", "by column", "big-endian"])
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_other_kinds_of_numbers_are_converted(tmp_path: Path, kind: str, ending: str) -> None:
    arrays = digits_as_features(60)
    path = write(tmp_path, ending, **arrays | {"features": of_other_kinds(arrays)[kind]})
    found = load(path).train.images.flatten(1).numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, arrays["features"][arrays["split"] == "train"])


def test_compressed_and_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = digits_as_features()
    whole = load(write(tmp_path / "a", "npz", **arrays))
    monkeypatch.setattr(feature_matrices, "CHUNK", 8 * 64 * 7)
    (tmp_path / "b").mkdir()
    np.savez_compressed(tmp_path / "b" / "digits.npz", **arrays)
    for path in (tmp_path / "b" / "digits.npz", write(tmp_path / "c", "parquet", **arrays)):
        assert torch.equal(load(path).train.images, whole.train.images)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is mapped")
def test_float32_is_mapped_where_it_is(tmp_path: Path) -> None:
    """Where each split is one stretch of the file; else from the cache, once written."""
    arrays = digits_as_features()
    arrays["split"] = np.where(np.arange(300) < 250, "train", "test")
    before = cached()
    data = load(write(tmp_path, "npy", **arrays))
    assert cached() == before
    assert is_mapped_from(data.train.images, tmp_path / "digits.npy")
    assert is_mapped_from(data.test["test"].images, tmp_path / "digits.npy")
    data = load(write(tmp_path, "npz", **arrays))
    [kept] = [path for path in cached() if path not in before]
    assert is_mapped_from(data.train.images, kept)
    made = kept.stat().st_ino
    load(tmp_path / "digits.npz")
    assert kept.stat().st_ino == made
    os.utime(tmp_path / "digits.npz", ns=(1, 1))
    load(tmp_path / "digits.npz")
    assert not kept.exists()


def test_without_a_cache_features_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = digits_as_features(60)
    path = write(tmp_path, "npz", **arrays)
    expected = load(path).train.images.clone()
    monkeypatch.setattr(feature_rows, "folder_of", no_folder)
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert torch.equal(load(path).train.images, expected)


def no_folder(path: Path) -> Path:
    raise OSError("no room")


def test_a_test_split_is_drawn_as_of_a_folder(tmp_path: Path) -> None:
    arrays = digits_as_features() | {"split": None, "true_labels": None}
    path = write(tmp_path, "npz", **arrays)
    data, again, other = load(path), load(path), load(path, split_seed=1)
    assert data.rows is not None
    assert again.rows is not None
    assert other.rows is not None
    assert torch.equal(data.rows, again.rows)
    assert not torch.equal(data.rows, other.rows)
    assert (len(data.train), len(data.test["test"])) == (240, 60)
    assert (data.labels_are_true, data.given) == (False, None)
    everything = load(path, test_fraction=0, labels_are_true=True)
    assert (len(everything.train), everything.test) == (300, {})
    assert everything.labels_are_true
    alone = load(write(tmp_path, "npz", **arrays | {"split": np.full(300, "Training")}))
    assert torch.equal(alone.train.images, data.train.images)


@pytest.mark.parametrize("ending", ENDINGS)
def test_labels_that_are_names(tmp_path: Path, ending: str) -> None:
    arrays = digits_as_features()
    names = np.array([f"digit {k}" for k in "9876543210"])
    arrays |= {key: names[arrays[key]] for key in ("labels", "true_labels")}
    data = load(write(tmp_path, ending, **arrays))
    assert data.class_names == tuple(sorted(names.tolist()))
    found = np.array(data.class_names)[data.train.labels.numpy()]
    assert np.array_equal(found, arrays["true_labels"][arrays["split"] == "train"])


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_numbers_have_the_names_of_class_names(tmp_path: Path, ending: str) -> None:
    names = np.array(["nil", *"123456789"])
    assert load(write(tmp_path, ending, **digits_as_features(), class_names=names)).class_names == (
        "nil",
        *"123456789",
    )


def at(array: Any, row: int, value: Any) -> Any:
    """An array with another value in a row."""
    changed = array.copy()
    changed[row] = value
    return changed


FAULTS: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "no labels": (
        lambda a: {"labels": None, "y": a["labels"]},
        "must be .*labels.* or .*label.*, and is .*y",
    ),
    "no features": (
        lambda a: {"features": None, "x": a["features"]},
        "must be features or feature.*x",
    ),
    "nan": (lambda a: {"features": at(a["features"], 7, np.nan)}, "got nan in row 7, feature 0"),
    "inf": (lambda a: {"features": at(a["features"], 9, -np.inf)}, "got -inf in row 9"),
    "too large": (
        lambda a: {"features": at(a["features"].astype(np.float64), 5, 1e300)},
        "got inf in row 5",
    ),
    "lengths": (lambda a: {"labels": a["labels"][:-1]}, r"labels must be one value .*\[299\]"),
    "truth's length": (lambda a: {"true_labels": a["labels"][:9]}, r"true_labels must .*\[9\]"),
    "below 0": (lambda a: {"labels": at(a["labels"], 4, -1)}, "0 to K - 1, got -1 in row 4"),
    "a gap": (lambda a: {"labels": a["labels"] + 1}, "labels must be 0 to K - 1, .* no 0"),
    "far": (
        lambda a: {"labels": at(a["labels"], 0, 2**40)},
        "labels must be 0 to K - 1, got 1099511627776 in row 0",
    ),
    "truth out of range": (
        lambda a: {"true_labels": at(a["true_labels"], 2, 10)},
        r"true_labels must be in \[0, 10\).*got 10 in row 2",
    ),
    "one class": (lambda a: {"labels": a["labels"] * 0, "true_labels": None}, "2 classes, got 0"),
    "half labels": (lambda a: {"labels": a["labels"] + 0.5}, "whole numbers or text"),
    "one dimension": (lambda a: {"features": a["features"][:, 0]}, r"two dimensions.*\[300\]"),
    "no rows": (lambda a: {k: v[:0] for k, v in a.items()}, r"not empty, got \[0, 64\]"),
    "text": (lambda a: {"features": a["features"].astype(str)}, "features must be numbers"),
    "split": (lambda a: {"split": at(a["split"], 0, "odd")}, "split must be train .*odd"),
    "no train": (lambda a: {"split": np.full(300, "test")}, "split must be train .*got test"),
    "objects": (lambda a: {"labels": a["labels"].astype(object)}, "never unpickled"),
    "objects as features": (
        lambda a: {"features": a["features"].astype(object)},
        "never unpickled",
    ),
    "a class without training": (
        lambda a: {"split": np.where(a["labels"] == 3, "test", "train")},
        "class 3 has no training sample",
    ),
}


@pytest.mark.parametrize("ending", ["npz", "npy"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_used_is_refused_in_a_line(tmp_path: Path, fault: str, ending: str) -> None:
    if (fault, ending) == ("no features", "npy"):
        pytest.skip("the file itself is the features")
    arrays = digits_as_features()
    change, reason = FAULTS[fault]
    path = write(tmp_path, ending, **arrays | change(arrays))
    with pytest.raises(InputError, match=reason) as error:
        load(path)
    text = str(error.value)
    assert text.startswith("dataset.source.path: ")
    assert str(path.with_suffix("")) in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([[1.0, 2.0], [3.0], [4.0, 5.0]]), "row 1 has 1 features, and row 0 has 2"),
        (pa.array([[1.0, 2.0], None, [4.0, 5.0]]), "row 1 has 0 features"),
        (pa.array([[1.0, 2.0], [None, 1.0], [4.0, 5.0]]), "got nan in row 1, feature 0"),
        (pa.array([1.0, 2.0, 3.0]), "must be a column of lists of numbers, got double"),
        (pa.array([["a"], ["b"], ["c"]]), "features must be numbers"),
        (pa.array([[[1.0]], [[2.0]], [[3.0]]]), "features must be numbers"),
    ],
)
def test_columns_of_parquet_that_cannot_be_used(tmp_path: Path, column: Any, reason: str) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"embedding": column, "label": [0, 1, 1]}), path)
    with pytest.raises(InputError, match=reason):
        load(path, test_fraction=0)


def test_a_label_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"features": [[1.0], [2.0]], "labels": [1, None]}), path)
    with pytest.raises(InputError, match="labels is missing in row 1"):
        load(path)


def test_lists_of_a_fixed_size(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values), 3)
    pq.write_table(pa.table({"embeddings": lists, "label": [0, 1, 1, 0]}), tmp_path / "x.parquet")
    data = load(tmp_path / "x.parquet", test_fraction=0)
    assert np.array_equal(data.train.images.flatten().numpy(), values)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", b"1,2", r"must end in \.npz, \.parquet, \.npy, got"),
        ("x.npz", None, "there is no file"),
        ("x.npz", b"no archive", "cannot be read"),
        ("x.parquet", b"no table", "cannot be read"),
        ("x.npy", b"no array", "cannot be read|x.label.npy beside it, and is features"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"path": None}, "path must be the file"),
        ({"test_fraction": 1}, "test_fraction"),
        ({"labels_are_true": 1}, "labels_are_true"),
    ],
)
def test_bad_settings_name_their_key(settings: Arrays, key: str) -> None:
    with pytest.raises(InputError, match=rf"dataset\.source\.{key}"):
        Features(**{"path": "x.npz", **settings})


def test_damage_within_an_archive(tmp_path: Path) -> None:
    path = write(tmp_path, "npz", **digits_as_features())
    content = bytearray(path.read_bytes())
    content[2000:2400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load(path)
