import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from official_data import write_image_folder

from pmnar.data.sources import ImageFolder
from pmnar.data.sources.counts import describe_classes
from pmnar.data.sources.layout import find_layout
from pmnar.errors import InputError

CLASSES = ("class0", "class1", "class2")


def lay_out(root: Path, *names: str) -> Path:
    """Folders of three classes each under these names."""
    for name in names:
        write_image_folder(root / name, test_per_class=0)
    return root


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("train", "valid", "val"),
        ("Training", "Testing", "test"),
        ("Train", "Test", "test"),
        ("TRAIN", "validation", "val"),
        ("training", "Dev", "val"),
        ("training_set", "test_set", "test"),
        ("TrainData", "Validation Data", "val"),
    ],
)
def test_usual_names_of_splits_are_known(
    tmp_path: Path, train: str, other: str, split: str
) -> None:
    lay_out(tmp_path, train, other)
    data = ImageFolder(tmp_path).load()
    assert data.class_names == CLASSES
    assert list(data.test) == [split]
    assert data.train.paths is not None
    assert data.train.paths[0] == f"{train}/class0/0000.png"


def test_validation_beside_a_test_split_comes_second(tmp_path: Path) -> None:
    lay_out(tmp_path, "train", "validation", "test")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "notes.txt").write_text("no image, and so no class")
    assert list(ImageFolder(tmp_path).load().test) == ["test", "val"]
    assert not find_layout(tmp_path).notice


def test_a_validation_split_in_place_of_a_test_split_is_told(tmp_path: Path) -> None:
    lay_out(tmp_path, "train", "valid")
    source = ImageFolder(tmp_path)
    with pytest.warns(UserWarning, match=r"no test folder: valid/ is what accuracy is reported on"):
        source.prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.prepare()  # as a Trainer does once more: told once


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("cat", "dog", "bird", "test"), "split folders test beside bird, cat, dog:"),
        (("cat", "train", "val"), "split folders train, val beside cat:"),
        (("test", "val"), "split folders test, val:"),
        (("train", "training"), "split folders train, training:"),
        (("train", "val", "valid"), "split folders train, val, valid:"),
    ],
)
def test_a_mixture_is_refused(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    lay_out(tmp_path, *names)
    with pytest.raises(InputError, match=found) as error:
        ImageFolder(tmp_path).prepare()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "names", [("seg_train", "seg_test"), ("train_cat", "test_cat", "train_dog", "test_dog")]
)
def test_classes_that_are_named_after_splits_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    lay_out(tmp_path, *names)
    with pytest.raises(InputError, match=f"{', '.join(sorted(names))} in .* look like splits"):
        ImageFolder(tmp_path).prepare()
    assert ImageFolder(tmp_path, layout="classes").load().class_names == tuple(sorted(names))


def test_test_images_without_labels_are_no_split(tmp_path: Path) -> None:
    """As competitions hand them out: loose files in test/."""
    lay_out(tmp_path, "train", "val")
    shutil.copytree(tmp_path / "train" / "class0", tmp_path / "test")
    with pytest.warns(UserWarning, match="test/ left out, no <class>/ folders in it; .* val/ is"):
        ImageFolder(tmp_path).prepare()
    assert list(ImageFolder(tmp_path).load().test) == ["val"]
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val").mkdir()
    with pytest.warns(UserWarning, match=r"test/ and val/ left out.*part of train/ is held out"):
        ImageFolder(tmp_path).prepare()
    data = ImageFolder(tmp_path).load()
    assert len(data.train) == 24
    assert len(data.test["test"]) == 6


def test_every_folder_can_be_a_class(tmp_path: Path) -> None:
    lay_out(tmp_path, "cat", "train")
    assert ImageFolder(tmp_path, layout="classes").load().class_names == ("cat", "train")


def test_splits_inside_the_classes_are_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        lay_out(tmp_path / name, "train", "test")
    with pytest.raises(InputError, match="split folders inside cat, dog"):
        ImageFolder(tmp_path).prepare()


def test_what_devices_leave_is_no_class_and_no_image(tmp_path: Path) -> None:
    lay_out(tmp_path, "train", "test")
    hidden = (
        *("@eaDir", "#recycle", ".@__thumb", "lost+found", "__MACOSX", "$RECYCLE.BIN"),
        *(".pmnar-cache", "System Volume Information"),
    )
    for split in ("train", "test"):
        for name in hidden:
            for place in (tmp_path / split / name, tmp_path / split / "class1" / name):
                shutil.copytree(tmp_path / "train" / "class0", place, dirs_exist_ok=True)
        for name in ("Thumbs.db", "desktop.ini", "._0000.png", "0.png:Zone.Identifier"):
            (tmp_path / split / "class1" / name).write_bytes(b"no image")
    for name in hidden:
        shutil.copytree(tmp_path / "train" / "class0", tmp_path / name)
    data = ImageFolder(tmp_path).load()
    assert data.class_names == CLASSES
    assert data.train.labels.bincount().tolist() == [10, 10, 10]
    assert data.test["test"].labels.bincount().tolist() == [10, 10, 10]


def test_the_line_of_the_classes() -> None:
    labels = np.array([0, 1, 1], dtype=np.int64)
    assert describe_classes(("cat", "dog"), labels) == "2: cat (1), dog (2)"
    many = describe_classes([f"c{at}" for at in range(200)], np.arange(1200) % 200)
    assert many.startswith("200: c0 (6), c1 (6), ")
    assert many.endswith(", … (6 to 6 images each)")
