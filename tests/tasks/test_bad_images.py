"""Folders of images that cannot be used are refused in a line, before training."""

import sys
from collections.abc import Callable
from pathlib import Path

import official_data
import pytest

from pmnar.runtime.typed import hydra_quoted

Run = Callable[..., Path]


Refuse = Callable[..., str]


FOLDER = ("dataset=image_folder", "dataset.train_subset=null", "data.batch_size=6", "noise=clean")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("one class", "must hold a folder for each of at least 2 classes, got 1: class0"),
        ("empty class", "class 'empty' is empty"),
        ("unreadable image", "0003.png"),
        ("unknown test class", "class 'class9' is in"),
        ("no folder", "there is no folder"),
    ],
)
def test_folder_of_images_that_cannot_be_used(
    refuse: Refuse, tmp_path: Path, fault: str, reason: str
) -> None:
    images = tmp_path / "images"
    if fault != "no folder":
        official_data.write_image_folder(images, num_classes=1 if fault == "one class" else 3)
    if fault == "empty class":
        (images / "train" / "empty").mkdir()
    if fault == "unreadable image":
        (images / "train" / "class0" / "0003.png").write_bytes(b"no image")
    if fault == "unknown test class":
        (images / "test" / "class2").rename(images / "test" / "class9")
    message = refuse(*FOLDER, f"dataset.source.data_dir={images}")
    assert reason in message
    assert str(images) in message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
@pytest.mark.parametrize("kind", ["class", "image", "path"])
def test_a_name_that_is_no_utf8_is_told_before_training(
    refuse: Refuse, tmp_path: Path, kind: str
) -> None:
    """It could not be written at the end, into tables and a report that are UTF-8."""
    images, odd = tmp_path / "images", "caf\udce9"
    official_data.write_image_folder(images, side=8)
    train_folder = images / "train"
    if kind == "class":
        (train_folder / "class1").rename(train_folder / odd)
        (images / "test" / "class1").rename(images / "test" / odd)
    elif kind == "image":
        (train_folder / "class0" / "0003.png").rename(train_folder / "class0" / f"{odd}.png")
    else:
        images = images.rename(tmp_path / odd)
    message = refuse(
        *FOLDER, "dataset.source.image_size=8", f"data_dir={hydra_quoted(str(images))}"
    )
    assert message.startswith(f"the {kind} ")
    assert "caf\\xe9" in message
    assert "not UTF-8" in message


def test_unreadable_image_can_be_skipped(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    official_data.write_image_folder(images, side=8)
    (images / "train" / "class0" / "0003.png").write_bytes(b"no image")
    small = ("network=small_cnn", "network.width=8", "dataset.source.image_size=8")
    where = (f"dataset.source.data_dir={images}", "dataset.source.on_error=skip")
    with pytest.warns(UserWarning, match="1 "):
        folder = run(*FOLDER, *small, *where, "trainer.max_epochs=1", "method=ce")
    assert "29 images" in capfd.readouterr().out
    assert (folder / "summary.json").is_file()
