"""Checkpoints: whole or absent, and never executed."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from pmnar.errors import InputError
from pmnar.runtime.checkpoint import SafeCheckpointIO, check_labels, read_checkpoint


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
