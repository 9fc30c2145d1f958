from pathlib import Path

import numpy as np
import pytest
from official_data import webvision_wnids, write_imagenet_val, write_mini_webvision

from pmnar.data.sources import MiniWebVision
from pmnar.data.sources.decode import Decoder
from pmnar.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("webvision")
    write_mini_webvision(path)
    return path


def test_first_fifty_classes_with_untrusted_labels(folder: Path) -> None:
    source = MiniWebVision(folder)
    source.prepare()
    data = source.load()
    assert not data.labels_are_true
    assert data.num_classes == 50
    assert data.class_names == tuple(f"word {wnid}" for wnid in webvision_wnids(50))
    assert data.train.images.shape == (100, 3, 84, 84)
    assert data.train.labels.tolist() == list(range(50)) * 2
    assert data.train.paths is not None
    assert data.train.paths[51] == "google/q0001/image53.jpg"
    assert np.array_equal(data.train.images[51].numpy(), Decoder(84)(folder / data.train.paths[51]))
    assert list(data.test) == ["webvision"]
    assert data.test["webvision"].labels.tolist() == list(range(50))
    assert data.test["webvision"].paths is not None
    assert data.test["webvision"].paths[3] == "val_images_256/val000003.jpg"


@pytest.mark.parametrize("flat", [False, True])
def test_imagenet_is_a_second_test(folder: Path, tmp_path: Path, flat: bool) -> None:
    write_imagenet_val(tmp_path, flat)
    data = MiniWebVision(folder, tmp_path, image_size=16).load()
    assert list(data.test) == ["webvision", "imagenet"]
    test = data.test["imagenet"]
    assert test.labels.tolist() == list(range(50))
    assert test.paths is not None
    assert test.paths[7].endswith("ILSVRC2012_val_00000008.JPEG")
    assert np.array_equal(test.images[7].numpy(), Decoder(16)(tmp_path / test.paths[7]))


def test_imagenet_folder_may_be_val_itself(folder: Path, tmp_path: Path) -> None:
    write_imagenet_val(tmp_path)
    assert len(MiniWebVision(folder, tmp_path / "val", 16).load().test["imagenet"]) == 50


def test_incomplete_imagenet_is_refused(folder: Path, tmp_path: Path) -> None:
    write_imagenet_val(tmp_path, num_classes=48)
    with pytest.raises(InputError, match=r"of 2 of the 50 classes: dataset.source.imagenet_dir"):
        MiniWebVision(folder, tmp_path).prepare()


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train_filelist_google.txt is missing: data_dir must"):
        MiniWebVision(tmp_path).prepare()


def test_a_listed_file_that_is_absent_is_named(tmp_path: Path) -> None:
    write_mini_webvision(tmp_path, per_class=1)
    (tmp_path / "google/q0004/image4.jpg").unlink()
    with pytest.raises(InputError, match=r"google/q0004/image4.jpg is unreadable .*No such file"):
        MiniWebVision(tmp_path).prepare()


@pytest.mark.parametrize("line", ["google/q0001/a.jpg", "google/q0001/a.jpg x", "3"])
def test_a_line_without_path_and_label_is_named(tmp_path: Path, line: str) -> None:
    write_mini_webvision(tmp_path, per_class=1)
    (tmp_path / "info" / "train_filelist_google.txt").write_text(f"{line}\n")
    with pytest.raises(InputError, match=f"has the line '{line}', not 'path label'"):
        MiniWebVision(tmp_path).prepare()
