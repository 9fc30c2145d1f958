import os
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_data import write_image_folder
from PIL import Image

from pmnar.data.sources import cache
from pmnar.data.sources.cache import CachedImages, OnError
from pmnar.data.sources.cache_folder import folder_of
from pmnar.data.sources.decode import Chunk, Decoder, decode_files
from pmnar.data.sources.finding import image_files
from pmnar.data.sources.listing import make_listing
from pmnar.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images, the cache of which is a folder of the test's own."""
    monkeypatch.setenv("PMNAR_CACHE_DIR", str(tmp_path / "cache"))
    write_image_folder(tmp_path / "images", test_per_class=0)
    return tmp_path / "images"


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one title for every decoding of a folder."""
    seen: list[str] = []

    def counted(
        root: Path, paths: Sequence[str], decoder: Decoder, title: str
    ) -> Generator[Chunk, None, None]:
        seen.append(title)
        return decode_files(root, paths, decoder, title)

    monkeypatch.setattr(cache, "decode_files", counted)
    return seen


def images_of(folder: Path, size: int = 32, on_error: OnError = "raise") -> CachedImages:
    files = [(path, int(path[5])) for path in image_files(folder)]
    return CachedImages(make_listing(folder, files), "all", Decoder(size), on_error)


def cached_files(folder: Path) -> list[Path]:
    return sorted(folder_of(folder).glob("all-*"))


def test_decodes_once_and_maps_the_same_images_again(folder: Path, decodings: list[str]) -> None:
    images_of(folder).store()
    first, again = images_of(folder).load(), images_of(folder).load()
    assert decodings == ["all"]
    assert torch.equal(first.images, again.images)
    assert first.paths == tuple(image_files(folder))
    one = Decoder(32)(folder / image_files(folder)[7])
    assert np.array_equal(first.images[7].numpy(), one)
    assert [path.suffix for path in cached_files(folder)] == [".json", ".npy"]


def test_changing_the_loaded_images_leaves_the_cache_alone(folder: Path) -> None:
    before = images_of(folder).load().images.clone()
    images_of(folder).load().images.zero_()
    assert torch.equal(images_of(folder).load().images, before)


@pytest.mark.parametrize("change", ["touched", "added", "removed", "renamed"])
def test_a_changed_folder_is_decoded_anew(folder: Path, decodings: list[str], change: str) -> None:
    before = images_of(folder).load()
    stored = cached_files(folder)
    path = folder / "class1" / "0001.png"
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "added":
        (folder / "class1" / "new.png").write_bytes(path.read_bytes())
    elif change == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("other.png"))
    after = images_of(folder).load()
    assert decodings == ["all", "all"]
    assert len(after) - len(before) == {"added": 1, "removed": -1}.get(change, 0)
    assert len(cached_files(folder)) == 2
    assert not set(stored) & set(cached_files(folder))


def test_files_that_change_places_are_decoded_anew(tmp_path: Path) -> None:
    """Of equal size and time, as after unpacking an archive of bitmaps."""
    paths = [tmp_path / f"class{at}.bmp" for at in range(2)]
    for at, path in enumerate(paths):
        Image.new("RGB", (8, 8), (at * 255,) * 3).save(path)
        os.utime(path, ns=(10**18, 10**18))
    before = images_of(tmp_path, 8).load().images.clone()
    paths[0].rename(tmp_path / "aside")
    paths[1].rename(paths[0])
    (tmp_path / "aside").rename(paths[1])
    assert torch.equal(images_of(tmp_path, 8).load().images, before.flip(0))


def test_other_options_have_a_cache_of_their_own(folder: Path, decodings: list[str]) -> None:
    for size in (32, 16, 32, 16):
        assert images_of(folder, size).load().images.shape[-1] == size
    assert len(decodings) == 2
    assert len(cached_files(folder)) == 4


@pytest.mark.parametrize("damage", ["empty", "truncated", "pickle", "no json"])
def test_a_torn_cache_is_decoded_anew(folder: Path, decodings: list[str], damage: str) -> None:
    before = images_of(folder).load().images.clone()
    json_path, npy_path = cached_files(folder)
    if damage == "no json":
        json_path.unlink()
    elif damage == "pickle":
        np.save(npy_path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        npy_path.write_bytes(npy_path.read_bytes()[: 1000 if damage == "truncated" else 0])
    assert torch.equal(images_of(folder).load().images, before)
    assert decodings == ["all", "all"]


def test_an_interrupted_decoding_leaves_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Generator[Chunk, None, None]:
        yield Chunk(np.zeros((1, 3, 32, 32), np.uint8), {})
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(cache, "decode_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            images_of(folder).store()
    assert cached_files(folder) == []
    (folder_of(folder) / "left-by-a-kill.partial").touch()
    images_of(folder).store()
    assert not list(folder_of(folder).glob("*.partial"))


def test_without_a_place_for_the_cache_it_decodes_each_time(
    folder: Path, decodings: list[str]
) -> None:
    (folder.parent / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be kept .*PMNAR_CACHE_DIR"):
        images_of(folder).store()
    assert decodings == []
    with pytest.warns(UserWarning, match="every run decodes them anew"):
        split = images_of(folder).load()
    assert decodings == ["all"]
    assert np.array_equal(split.images[3].numpy(), Decoder(32)(folder / image_files(folder)[3]))


def test_a_full_disk_falls_back_to_memory(
    folder: Path, decodings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert len(images_of(folder).load()) == 30
    assert cached_files(folder) == []


@pytest.mark.parametrize("place", ["cache", "memory"])
def test_an_unreadable_image_is_named_or_skipped(folder: Path, place: str) -> None:
    torn = folder / "class2" / "0005.png"
    torn.write_bytes(torn.read_bytes()[:60])
    if place == "memory":
        (folder.parent / "cache").touch()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "decoded images of .* cannot be kept")
        with pytest.raises(InputError, match=r"class2/0005.png is unreadable .*on_error=skip"):
            images_of(folder).load()
        for _ in range(2):  # decoded, then from the cache
            with pytest.warns(UserWarning, match=r"1 of 30 images .*first is class2/0005.png"):
                split = images_of(folder, on_error="skip").load()
            assert len(split) == 29
            assert split.paths is not None
            assert split.labels.tolist() == [int(path[5]) for path in split.paths]
            last = Decoder(32)(folder / split.paths[-1])
            assert np.array_equal(split.images[-1].numpy(), last)
        with pytest.raises(InputError, match=r"class2/0005.png is unreadable"):
            images_of(folder).load()


def test_on_error_must_be_known(folder: Path) -> None:
    unknown: Any = "warn"
    with pytest.raises(
        InputError, match=r"dataset.source.on_error must be raise or skip, got warn"
    ):
        images_of(folder, on_error=unknown)
