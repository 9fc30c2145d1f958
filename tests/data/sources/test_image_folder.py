import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from official_data import save_image, write_image_folder
from PIL import Image

from pmnar.data.sources import ImageFolder
from pmnar.data.sources.decode import Decoder
from pmnar.errors import InputError


def test_train_and_test_folders(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    source = ImageFolder(tmp_path)
    source.prepare()
    data = source.load()
    assert data.class_names == ("class0", "class1", "class2")
    assert data.train.labels.bincount().tolist() == [10, 10, 10]
    assert data.test["test"].labels.bincount().tolist() == [4, 4, 4]
    assert data.train.images.shape == (30, 3, 32, 32)
    assert not data.labels_are_true
    for split in (data.train, data.test["test"]):
        assert split.paths is not None
        for at in (0, 11):
            assert split.paths[at].split("/")[1] == f"class{split.labels[at]}"
            pixels = Decoder(32)(tmp_path / split.paths[at])
            assert np.array_equal(split.images[at].numpy(), pixels)


def test_without_test_folder_the_split_is_drawn(tmp_path: Path) -> None:
    write_image_folder(tmp_path, test_per_class=0)
    first, again, other = (ImageFolder(tmp_path, split_seed=seed).load() for seed in (0, 0, 1))
    assert first.train.labels.bincount().tolist() == [8, 8, 8]
    assert first.test["test"].labels.bincount().tolist() == [2, 2, 2]
    assert first.train.paths is not None
    assert first.test["test"].paths is not None
    assert len({*first.train.paths, *first.test["test"].paths}) == 30
    assert first.train.paths == again.train.paths != other.train.paths
    for split in (first.train, first.test["test"]):
        assert split.paths is not None
        assert np.array_equal(split.images[3].numpy(), Decoder(32)(tmp_path / split.paths[3]))


def test_val_is_a_test_folder_too(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    assert list(ImageFolder(tmp_path).load().test) == ["val"]
    shutil.copytree(tmp_path / "val", tmp_path / "test")
    assert list(ImageFolder(tmp_path).load().test) == ["test", "val"]


def test_train_folder_alone_is_split(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "train", test_per_class=0)
    data = ImageFolder(tmp_path).load()
    assert data.class_names == ("class0", "class1", "class2")
    assert len(data.test["test"]) == 6


def test_every_kind_of_image_in_one_folder(tmp_path: Path) -> None:
    write_image_folder(tmp_path, num_classes=2, test_per_class=0)
    level = np.full((5, 9), 100, np.uint8)
    gray = Image.fromarray(level)
    kinds = {
        "16bit.png": Image.fromarray(level.astype(np.uint16) * 257),
        "gray.png": gray,
        "palette.gif": gray.convert("P"),
        "rgba.png": gray.convert("RGBA"),
        "sub/rgb.bmp": gray.convert("RGB"),
    }
    (tmp_path / "kinds" / "sub").mkdir(parents=True)
    for name, image in kinds.items():
        image.save(tmp_path / "kinds" / name)
    (tmp_path / "kinds" / "notes.txt").write_text("not an image")
    for channels in (1, 3):
        data = ImageFolder(tmp_path, image_size=4, channels=channels).load()
        both = (data.train, data.test["test"])
        images = torch.cat([split.images[split.labels == 2] for split in both])
        assert images.shape == (5, channels, 4, 4)
        assert (images == 100).all()


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data_dir: there is no folder .*absent"):
        ImageFolder(tmp_path / "absent").prepare()


@pytest.mark.parametrize("num_classes", [0, 1])
def test_too_few_classes(tmp_path: Path, num_classes: int) -> None:
    if num_classes:
        write_image_folder(tmp_path, num_classes, test_per_class=0)
    with pytest.raises(InputError, match=rf"at least 2 classes, got {num_classes}.*data_dir"):
        ImageFolder(tmp_path).prepare()


def test_empty_class_is_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "train" / "nothing").mkdir()
    (tmp_path / "train" / "nothing" / "readme.txt").touch()
    with pytest.raises(InputError, match=r"class 'nothing' is empty: .*train/nothing holds no"):
        ImageFolder(tmp_path).prepare()


def test_test_class_that_train_lacks_is_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    shutil.copytree(tmp_path / "test" / "class0", tmp_path / "test" / "zebra")
    with pytest.raises(InputError, match=r"class 'zebra' is in .*test, but not in .*train"):
        ImageFolder(tmp_path).prepare()


def test_class_that_test_lacks_keeps_the_label_ids(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    shutil.rmtree(tmp_path / "test" / "class1")
    assert ImageFolder(tmp_path).load().test["test"].labels.bincount().tolist() == [4, 0, 4]


def test_unreadable_images_are_named_or_skipped(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    torn = tmp_path / "train" / "class1" / "0004.png"
    torn.write_bytes(torn.read_bytes()[:80])
    with pytest.raises(InputError, match=r"train/class1/0004.png is unreadable .*on_error=skip"):
        ImageFolder(tmp_path).prepare()
    source = ImageFolder(tmp_path, on_error="skip")
    source.prepare()
    with pytest.warns(UserWarning, match="1 of 30 images"):
        data = source.load()
    assert data.train.labels.bincount().tolist() == [10, 9, 10]


def test_class_without_readable_image_is_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    for path in (tmp_path / "train" / "class1").iterdir():
        path.write_bytes(b"torn")
    with (
        pytest.warns(UserWarning, match="10 of 30 images"),
        pytest.raises(InputError, match=r"class 'class1' in .* has no readable image"),
    ):
        ImageFolder(tmp_path, on_error="skip").load()


def test_one_image_a_class_leaves_no_test_split(tmp_path: Path) -> None:
    for name in "ab":
        save_image(tmp_path / name / "only.png", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match="one image a class"):
        ImageFolder(tmp_path).load()


def test_dark_16_bit_images_are_told_and_scaled(tmp_path: Path) -> None:
    level = np.full((4, 4), 4095, np.uint16)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(level).save(tmp_path / f"{name}.png")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match=r"up to 4,095, .* are dark: gray_bits=12 is their"):
            assert int(ImageFolder(tmp_path, image_size=4).load().train.images.max()) == 16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ImageFolder(tmp_path, image_size=4, gray_bits=12).load()
    assert (data.train.images == 255).all()
    with pytest.warns(UserWarning, match="cut to white: gray_bits=12 is"):
        ImageFolder(tmp_path, image_size=4, gray_bits=10).load()
