import os
from pathlib import Path

import pytest
from filelock import FileLock
from official_data import write_image_folder
from torchvision import datasets

from pmnar.data.sources import ImageFolder, cache_folder
from pmnar.data.sources.cache_folder import cache_root, clear, folder_of, limit
from pmnar.errors import InputError

SIDE = 32
SPLIT = 30 * 3 * SIDE * SIDE
"""Bytes of a data set of this file."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("PMNAR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("PMNAR_CACHE_GB", raising=False)
    return tmp_path / "cache"


def images(root: Path) -> Path:
    write_image_folder(root, test_per_class=0)
    return root


def kept(root: Path) -> list[str]:
    """Suffixes of what is kept of a data set."""
    return sorted(path.suffix for path in folder_of(root).glob("image_folder-*"))


def test_the_users_folder_stays_as_it_was(tmp_path: Path) -> None:
    root = images(tmp_path / "a")
    before = sorted(root.rglob("*"))
    source = ImageFolder(root)
    source.prepare()
    source.load()
    assert sorted(root.rglob("*")) == before
    assert datasets.ImageFolder(str(root)).classes == ["class0", "class1", "class2"]
    assert kept(root) == [".json", ".npy"]


def test_by_default_it_is_the_platforms_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PMNAR_CACHE_DIR")
    monkeypatch.setattr(cache_folder, "user_cache_path", lambda name, appauthor: tmp_path / name)
    assert cache_root() == tmp_path / "pmnar" / "images"
    monkeypatch.setattr(cache_folder, "user_cache_path", lambda name, appauthor: Path("~") / name)
    with pytest.raises(OSError, match="no home folder; PMNAR_CACHE_DIR"):
        cache_root()


def test_the_longest_unused_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (images(tmp_path / name) for name in "abc")
    monkeypatch.setenv("PMNAR_CACHE_GB", str(2.5 * SPLIT / 1e9))
    for root, used in ((first, 100), (second, 200)):
        ImageFolder(root).prepare()
        for path in folder_of(root).iterdir():
            os.utime(path, (used, used))
    ImageFolder(first).load()  # now the second is the longest unused
    ImageFolder(third).prepare()
    assert kept(first) == kept(third) == [".json", ".npy"]
    assert kept(second) == []
    with FileLock(folder_of(first) / ".lock"):  # as a run that decodes
        assert clear() > SPLIT
    assert kept(first) == [".json", ".npy"]
    assert kept(third) == []


def test_what_is_over_the_limit_alone_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_before, root = images(tmp_path / "a"), images(tmp_path / "b")
    ImageFolder(kept_before).prepare()
    monkeypatch.setenv("PMNAR_CACHE_GB", str(0.5 * SPLIT / 1e9))
    with pytest.warns(UserWarning, match=r"cannot be kept \(0.0 GB, over PMNAR_CACHE_GB="):
        ImageFolder(root).prepare()
    assert kept(root) == []
    assert kept(kept_before) == [".json", ".npy"]


@pytest.mark.parametrize("text", ["many", "-1", "nan"])
def test_the_limit_must_be_a_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PMNAR_CACHE_GB", text)
    with pytest.raises(InputError, match=f"PMNAR_CACHE_GB must be a number.*got {text}"):
        limit()


def test_the_command_shows_and_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = images(tmp_path / "a")
    ImageFolder(root).prepare()
    monkeypatch.setattr("sys.argv", ["pmnar-cache"])
    cache_folder.main()
    assert f"0.00 of at most 100 GB of decoded images in {cache_root()}" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["pmnar-cache", "clear"])
    cache_folder.main()
    assert "removed from" in capsys.readouterr().out
    assert kept(root) == []
    assert root.is_dir()
