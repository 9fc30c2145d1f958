from pathlib import Path

import numpy as np
import pytest
from official_data import write_tiny_imagenet

from pmnar.data.sources import TinyImageNet
from pmnar.data.sources.decode import Decoder
from pmnar.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_imagenet(tmp_path, num_classes=5, per_class=3, val_per_class=2)
    return tmp_path


def test_official_folder(folder: Path) -> None:
    source = TinyImageNet(folder)
    source.prepare()
    data = source.load()
    wnids = (folder / "wnids.txt").read_text().split()
    assert data.train.images.shape == (15, 3, 64, 64)
    assert data.train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert data.class_names == tuple(f"word {wnid}" for wnid in wnids)
    assert data.train.paths is not None
    for at, path in enumerate(data.train.paths):
        assert path.split("/")[1] == wnids[int(data.train.labels[at])]
        assert np.array_equal(data.train.images[at].numpy(), Decoder(64)(folder / path))
    assert data.labels_are_true


def test_val_is_the_test_split_with_the_annotated_labels(folder: Path) -> None:
    test = TinyImageNet(folder).load().test["test"]
    assert test.labels.tolist() == [0, 1, 2, 3, 4] * 2
    assert test.paths == tuple(f"val/images/val_{at}.JPEG" for at in range(10))
    assert np.array_equal(test.images[6].numpy(), Decoder(64)(folder / "val/images/val_6.JPEG"))


def test_other_sizes_are_resized(folder: Path) -> None:
    data = TinyImageNet(folder, image_size=84).load()
    assert data.train.images.shape == (15, 3, 84, 84)
    assert data.test["test"].images.shape == (10, 3, 84, 84)


def test_skips_unreadable_images_where_asked(folder: Path) -> None:
    (folder / "val" / "images" / "val_3.JPEG").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"val_3.JPEG is unreadable"):
        TinyImageNet(folder).prepare()
    with pytest.warns(UserWarning, match="1 of 10 images"):
        data = TinyImageNet(folder, on_error="skip").load()
    assert data.test["test"].labels.tolist() == [0, 1, 2, 4, 0, 1, 2, 3, 4]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wnids.txt is missing: data_dir must be where"):
        TinyImageNet(tmp_path / "absent").prepare()


def test_class_without_images_and_unknown_wnid_are_named(folder: Path) -> None:
    wnids = folder / "wnids.txt"
    listed = wnids.read_text()
    wnids.write_text(listed + "n00000042\n")
    with pytest.raises(InputError, match=r"train/n00000042/images holds no image"):
        TinyImageNet(folder).load()
    wnids.write_text("\n".join(listed.split()[:-1]))
    with pytest.raises(InputError, match=r"val_4.JPEG the class 'n\d+', not one of wnids.txt"):
        TinyImageNet(folder).load()
