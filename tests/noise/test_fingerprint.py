import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import CleanLabels, FromFile, NoisyLabels, OfRun, Symmetric, inject
from pmnar.noise import file as file_module
from pmnar.noise import labels as labels_module
from pmnar.noise.fingerprint import Fingerprint, check_unchanged, compare, decoders
from pmnar.noise.paths import Paths

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), np.uint8)
LABELS = np.array([0, 0, 0, 1, 1, 1])
INDEX = np.arange(6)
PATHS = ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3")
CLEAN = CleanLabels(LABELS, 2, "toy", INDEX, IMAGES)
BEFORE = Fingerprint.of(IMAGES, LABELS, INDEX, PATHS)


def now(rows: Sequence[int], paths: Sequence[str], labels: Sequence[int]) -> Fingerprint:
    """The images at `rows`, under other names and in other classes."""
    return Fingerprint.of(IMAGES[list(rows)], np.array(labels), np.arange(len(rows)), paths)


def test_the_digest_is_of_every_pixel_label_path_and_of_their_order() -> None:
    again = Fingerprint.of(IMAGES.copy(), LABELS.copy(), INDEX.copy(), PATHS)
    assert again.digest == BEFORE.digest
    pixel = IMAGES.copy()
    pixel[4, 2, 3, 3] ^= 1
    others = [
        Fingerprint.of(pixel, LABELS, INDEX, PATHS),
        Fingerprint.of(IMAGES, LABELS[::-1], INDEX, PATHS),
        Fingerprint.of(IMAGES, LABELS, INDEX, (*PATHS[:5], "b/4")),
        Fingerprint.of(IMAGES, LABELS, INDEX),
        BEFORE.part(INDEX[::-1]),
        BEFORE.part(INDEX[:5]),
    ]
    assert len({BEFORE.digest, *(other.digest for other in others)}) == 7
    # Where the images are in memory does not matter.
    mirrored = np.ascontiguousarray(IMAGES[..., ::-1])[..., ::-1]
    assert Fingerprint.of(mirrored, LABELS, INDEX, PATHS).digest == BEFORE.digest


def test_parts_put_together_are_the_whole() -> None:
    first = np.array([True, False, True, True, False, False])
    both = BEFORE.part(first).joined(BEFORE.part(~first))
    assert both.digest != BEFORE.digest
    assert both.part(np.argsort(both.index)).digest == BEFORE.digest


@pytest.mark.parametrize(
    ("after", "texts", "rows"),
    [
        (BEFORE, [], range(6)),
        (
            now([0, 2, 3, 4, 5], ["a/1", "a/3", *PATHS[3:]], [0, 0, 1, 1, 1]),
            ["a/2 is missing"],
            [0, 2, 3, 4, 5],
        ),
        (
            now([0, 2, 3, 4, 5, 1], ["a/1", "a/3", *PATHS[3:], "b/9"], [0, 0, 1, 1, 1, 1]),
            ["a/2 is in another class, it is b/9 now"],
            [0, 2, 3, 4, 5, 1],
        ),
        (
            now([1, 0, 2, 3, 4, 5], PATHS, LABELS.tolist()),
            ["a/1 has changed in content", "a/2 has changed in content"],
            range(6),
        ),
        (
            # Which of two copies a file was cannot be told.
            now([0, 0, 2, 3, 4, 5], ["a/8", "a/9", *PATHS[2:]], LABELS.tolist()),
            ["a/1 is missing", "a/2 is missing", "a/8 is new", "a/9 is new"],
            [-1, -1, 2, 3, 4, 5],
        ),
    ],
    ids=["same", "missing", "class", "content", "copies"],
)
def test_changes(after: Fingerprint, texts: list[str], rows: Sequence[int]) -> None:
    changes, found = compare(BEFORE, after)
    assert [change.text for change in changes] == texts
    assert found.tolist() == list(rows)


def test_another_order_is_another_set() -> None:
    turned = BEFORE.part(INDEX[::-1])
    with pytest.raises(InputError, match=r"^runs/a was trained on .*: they come in another order;"):
        check_unchanged(BEFORE, turned, Path("runs/a"))
    check_unchanged(None, turned, Path("runs/a"))


def test_without_paths_the_content_is_looked_at(tmp_path: Path) -> None:
    inject(Symmetric(0.3), CLEAN, 0).save(tmp_path / "labels.npz")
    FromFile(tmp_path)(CLEAN, 0)
    other = replace(CLEAN, images=IMAGES[[0, 1, 2, 3, 5, 4]])
    with pytest.raises(InputError) as error:
        FromFile(tmp_path)(other, 0)
    told = "the training image with index 4 has changed in content, and 1 more differ; restore "
    assert told in str(error.value)


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    strange = (*PATHS[:5], "b/\udcff")
    labels = inject(Symmetric(0.3), replace(CLEAN, paths=strange), 0)
    labels.save(tmp_path / "labels.npz")
    assert FromFile(tmp_path)(replace(CLEAN, paths=strange), 0).tolist() == labels.given.tolist()


def test_paths_are_kept_as_bytes_and_come_back() -> None:
    names = ("", "a/ü", "b/\udcff", "c" * 70)
    paths = Paths.of(names)
    assert paths.tolist() == list(names)
    assert paths.text.nbytes == sum(len(name.encode("utf-8", "surrogateescape")) for name in names)
    assert paths.part(np.array([3, 1])).tolist() == [names[3], names[1]]
    assert paths.part(np.array([True, False, True, False])).tolist() == [names[0], names[2]]
    assert paths.joined(paths).tolist() == [*names, *names]
    assert Paths.of(()).tolist() == []
    with pytest.raises(ValueError, match="do not fit"):
        Paths(paths.text, paths.ends[:-1])


def test_a_file_keeps_no_array_of_text_and_older_ones_load(tmp_path: Path) -> None:
    labels = inject(Symmetric(0.3), replace(CLEAN, paths=PATHS), 0)
    labels.save(tmp_path / "labels.npz")
    with np.load(tmp_path / "labels.npz") as archive:
        found = dict(archive)
    long = max(array.itemsize for name, array in found.items() if name not in ("header", "decoder"))
    assert long == 8
    older = {k: v for k, v in found.items() if k not in ("path_text", "path_ends", "decoder")}
    np.savez(tmp_path / "older.npz", paths=np.array(PATHS), **older)
    loaded = NoisyLabels.load(tmp_path / "older.npz")
    assert loaded.digest == labels.digest == NoisyLabels.load(tmp_path / "labels.npz").digest
    assert loaded.decoder is None
    assert NoisyLabels.load(tmp_path / "labels.npz").decoder == decoders()


def test_other_pixels_of_another_decoder_are_told_as_such(tmp_path: Path) -> None:
    other = "Pillow 9.0.0 and libjpeg 6.2"
    before = replace(BEFORE, decoder=other)
    pixels = now([1, 0, 2, 3, 4, 5], PATHS, LABELS.tolist())
    told = f"(decoded by another Pillow/libjpeg: {other} then, {decoders()} now)"
    with pytest.raises(InputError, match=re.escape(told)):
        check_unchanged(before, pixels, Path("runs/a"))
    with pytest.raises(InputError) as error:
        check_unchanged(before, BEFORE.part(INDEX[:5]), Path("runs/a"))
    assert "decoded" not in str(error.value)  # that a file is gone is not its decoder's fault
    labels = inject(Symmetric(0.3), replace(CLEAN, paths=PATHS), 0)
    replace(labels, fingerprint=before).save(tmp_path / "labels.npz")
    again = replace(CLEAN, paths=PATHS, images=IMAGES[[1, 0, 2, 3, 4, 5]])
    with pytest.raises(InputError, match=re.escape(told)):
        FromFile(tmp_path).read(again)


@pytest.mark.parametrize("truth_known", [True, False])
@pytest.mark.parametrize("noise", [FromFile, OfRun])
def test_a_file_is_read_and_compared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: type[FromFile], truth_known: bool
) -> None:
    clean = replace(CLEAN, paths=PATHS)
    inject(Symmetric(0.3), clean, 0).save(tmp_path / "labels.npz")
    calls: list[str] = []
    read = labels_module._read_archive

    def counted_read(path: Path) -> dict[str, Any]:
        calls.append("read")
        return read(path)

    def counted_compare(before: Fingerprint, now: Fingerprint) -> object:
        calls.append("compare")
        return compare(before, now)

    monkeypatch.setattr(labels_module, "_read_archive", counted_read)
    monkeypatch.setattr(file_module, "compare", counted_compare)
    inject(noise(tmp_path), clean, 0, truth_known)
    assert calls == ["read", "compare"]
