"""Checkpoints: whole or absent, and never executed."""

import errno
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import fit, make_data, make_method

from pmnar.errors import InputError, WriteError
from pmnar.runtime.checkpoint import (
    RunCheckpoint,
    SafeCheckpointIO,
    check_labels,
    finished_epochs,
    read_checkpoint,
)


def content(value: float = 1.0) -> dict[str, Any]:
    return {
        "state_dict": {"labels": torch.arange(4), "weight": torch.full((50,), value)},
        "pmnar": {"dataset": "digits"},
        "epoch": 3,
    }


def check_content(found: dict[str, Any]) -> None:
    expected = content()
    assert found.keys() == expected.keys()
    assert (found["pmnar"], found["epoch"]) == (expected["pmnar"], expected["epoch"])
    tensors = zip(found["state_dict"].values(), expected["state_dict"].values(), strict=True)
    assert all(torch.equal(a, b) for a, b in tensors)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(content(), path)
    found = SafeCheckpointIO().load_checkpoint(path)
    check_content(found)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_is_executed_even_where_lightning_asks_for_it(tmp_path: Path) -> None:
    path, trace = tmp_path / "last.ckpt", tmp_path / "trace"
    torch.save({**content(), "extra": Malicious(trace)}, path)
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read as a checkpoint"):
        SafeCheckpointIO().load_checkpoint(path, weights_only=False)
    path.write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read as a checkpoint"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_told_in_one_line(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(content(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "written", [b"dataset:\n  name: digits\n", b"backbone", b"0", b"{}", b"\x80\x02", b"M"]
)
def test_another_kind_of_file_is_told_in_one_line(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(written)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lacks", ["state_dict", "pmnar"])
def test_a_checkpoint_of_something_else_is_told(tmp_path: Path, lacks: str) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({key: value for key, value in content().items() if key != lacks}, path)
    with pytest.raises(InputError, match=rf"not a checkpoint of this library: it has no {lacks}"):
        read_checkpoint(path)


def test_a_file_that_holds_no_dictionary_is_told(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "t.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of this library"):
        read_checkpoint(tmp_path / "t.ckpt")


def test_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.ckpt", tmp_path):
        with pytest.raises(InputError, match=f"there is no checkpoint at {path}"):
            read_checkpoint(path)


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(content(), path)
    unpicklable = {**content(2.0), "closure": lambda: None}
    with pytest.raises((pickle.PicklingError, AttributeError)):
        SafeCheckpointIO().save_checkpoint(unpicklable, path)
    check_content(read_checkpoint(path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_other_labels_is_refused() -> None:
    check_labels(content(), torch.arange(4))
    for labels in (torch.tensor([0, 1, 2, 2]), torch.arange(5)):
        with pytest.raises(InputError, match="other labels"):
            check_labels(content(), labels)


@pytest.mark.parametrize("place", ["at first", "in the middle", "when it is synced"])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(content(), path)

    class Full(io.BytesIO):
        """A file on a full disk."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.left = left

        def write(self, data: Any) -> int:
            self.left -= len(bytes(data))
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(bytes(data))

    real = torch.save
    if place == "when it is synced":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(full))
    else:
        left = 0 if place == "at first" else 500
        monkeypatch.setattr(torch, "save", lambda what, file: real(what, Full(left)))
    with pytest.raises(WriteError, match=r"cannot write .*last\.ckpt: No space left on device"):
        SafeCheckpointIO().save_checkpoint(content(2.0), path)
    check_content(read_checkpoint(path))
    assert list(tmp_path.iterdir()) == [path]


def saved(folder: Path) -> dict[str, int]:
    """The checkpoints of a run, and the epochs that each has behind it."""
    files = (folder / "checkpoints").iterdir()
    return {p.name: finished_epochs(torch.load(p, weights_only=True)) for p in files}


def train(folder: Path, epochs: int, every: int = 1, keep: int = 1, resume: str = "") -> None:
    """Train, saving as a run does."""
    data = make_data()
    data.train_views = ("weak", "strong")
    start = folder / "checkpoints" / resume if resume else None
    settings: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    fit(make_method(data), data, epochs, [RunCheckpoint(folder, every, keep)], start, **settings)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    train(tmp_path, 5, keep=3)
    newest = {"epoch-0003.ckpt": 3, "epoch-0004.ckpt": 4, "epoch-0005.ckpt": 5}
    assert saved(tmp_path) == {**newest, "last.ckpt": 5}


def test_every_so_many_epochs_and_the_last(tmp_path: Path) -> None:
    train(tmp_path, 5, every=2, keep=9)
    assert saved(tmp_path) == {
        "epoch-0002.ckpt": 2,
        "epoch-0004.ckpt": 4,
        "epoch-0005.ckpt": 5,
        "last.ckpt": 5,
    }


def test_one_is_kept_under_one_name(tmp_path: Path) -> None:
    train(tmp_path, 2)
    assert saved(tmp_path) == {"last.ckpt": 2}


def test_where_files_cannot_have_two_names_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", lambda a, b: (_ for _ in ()).throw(OSError("unsupported")))
    train(tmp_path, 2, keep=2)
    assert saved(tmp_path) == {"epoch-0001.ckpt": 1, "epoch-0002.ckpt": 2, "last.ckpt": 2}


def test_going_back_leaves_no_later_checkpoint_behind(tmp_path: Path) -> None:
    train(tmp_path, 4, keep=3)
    train(tmp_path, 3, keep=3, resume="epoch-0002.ckpt")
    assert saved(tmp_path) == {"epoch-0002.ckpt": 2, "epoch-0003.ckpt": 3, "last.ckpt": 3}


@pytest.mark.parametrize("setting", [{"every": 0}, {"keep": 0}, {"keep": -1}])
def test_senseless_settings_are_refused(tmp_path: Path, setting: dict[str, int]) -> None:
    [(key, value)] = setting.items()
    with pytest.raises(InputError, match=rf"checkpoint\.{key} must be at least 1, got {value}"):
        RunCheckpoint(tmp_path, **setting)
