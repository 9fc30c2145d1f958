from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import CleanLabels, FromFile, Symmetric, inject
from pmnar.noise.fingerprint import Fingerprint, check_unchanged, compare

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
    told = "the training image with index 4 has changed in content, and 1 more differ"
    assert str(error.value).endswith(told)


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    strange = (*PATHS[:5], "b/\udcff")
    labels = inject(Symmetric(0.3), replace(CLEAN, paths=strange), 0)
    labels.save(tmp_path / "labels.npz")
    assert FromFile(tmp_path)(replace(CLEAN, paths=strange), 0).tolist() == labels.given.tolist()
