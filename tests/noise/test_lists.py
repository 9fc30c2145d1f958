"""Label lists of one's own, for `noise=file`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import CleanLabels, FromFile, inject
from pmnar.noise.lists import is_list, read_list

NAMES = ("cat", "dog", "shark, white shark")
TRUE = np.arange(12) % 3
GIVEN = (TRUE + np.arange(12) // 6) % 3
PATHS = tuple(f"train/{NAMES[k].split(',')[0]}/{i % 7}.png" for i, k in enumerate(TRUE))
CLEAN = CleanLabels(TRUE, 3, "pets", class_names=NAMES, paths=PATHS)
Write = Callable[[Path], Path]


def text(name: str, content: str) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return write


def quoted(label: int) -> str:
    return f'"{NAMES[label]}"'


def shuffled() -> list[int]:
    return [int(i) for i in np.random.default_rng(0).permutation(12)]


def arrays(**columns: Any) -> Write:
    def write(folder: Path) -> Path:
        np.savez(folder / "noise.npz", **columns)
        return folder / "noise.npz"

    return write


def array(values: Any) -> Write:
    def write(folder: Path) -> Path:
        np.save(folder / "noise.npy", values)
        return folder / "noise.npy"

    return write


def misnamed(folder: Path) -> Path:
    return array(GIVEN)(folder).rename(folder / "l.csv")


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


BY_TABS = [f"{path}\t{label}" for path, label in zip(PATHS, GIVEN, strict=True)]
LISTS: dict[str, Write] = {
    "csv of numbers": text("l.csv", lines(*map(str, GIVEN))),
    "csv of numbers under a header": text("l.csv", lines("Label", *map(str, GIVEN))),
    "csv of names": text("l.csv", lines(*map(quoted, GIVEN))),
    "csv with a byte order mark": text("l.csv", "\ufeff" + lines("label", *map(quoted, GIVEN))),
    "csv of paths": text("l.csv", lines(*(f"{PATHS[i]},{GIVEN[i]}" for i in shuffled()))),
    "csv of paths under a header": text(
        "l.csv",
        lines("noisy_label,note,path", *(f"{quoted(GIVEN[i])},-,{PATHS[i]}" for i in shuffled())),
    ),
    "csv of other folders": text(
        "l.csv", lines(*(f"/data/my/{PATHS[i]},{GIVEN[i]}" for i in shuffled()))
    ),
    "csv of shorter paths": text(
        "l.csv", lines(*(f"{PATHS[i].removeprefix('train/')},{GIVEN[i]}" for i in shuffled()))
    ),
    "csv with rows of the test set": text(
        "l.csv", lines(*(f"{PATHS[i]},{GIVEN[i]}" for i in shuffled()), "test/cat/0.png,0")
    ),
    "csv by tabs": text("l.csv", lines("path\tlabel", *BY_TABS)),
    "csv of pandas": text("l.csv", lines(",label", *(f"{i},{GIVEN[i]}" for i in shuffled()))),
    "json of DivideMix": text("l.json", json.dumps(GIVEN.tolist())),
    "json of names": text("l.json", json.dumps([NAMES[k] for k in GIVEN])),
    "json of paths": text("l.json", json.dumps({PATHS[i]: int(GIVEN[i]) for i in shuffled()})),
    "npy": array(GIVEN),
    "npy of small numbers": array(GIVEN.astype(np.uint8)),
    "npy of floats": array(GIVEN.astype(np.float32)),
    "npy of names": array(np.array([NAMES[k] for k in GIVEN])),
    "npz of UNICON": arrays(label=GIVEN, index=np.array([3, 9])),  # the noisy ones, as it has them
    "npz by another name": arrays(noise_label=GIVEN),
    "npz with paths": arrays(label=GIVEN[::-1], path=np.array(PATHS[::-1])),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_gives_its_labels(kind: str, tmp_path: Path) -> None:
    path = LISTS[kind](tmp_path)
    labels = inject(FromFile(path), CLEAN, 1)
    assert labels.given.tolist() == GIVEN.tolist()
    assert labels.actual_rate == 0.5
    assert inject(FromFile(path), CLEAN, 1, truth_known=False).true is None


def test_a_list_of_the_whole_training_set_serves_a_part_of_it(tmp_path: Path) -> None:
    index = np.array([1, 4, 5, 11])
    part = CleanLabels(TRUE[index], 3, "pets", index, class_names=NAMES)
    whole = LISTS["json of DivideMix"](tmp_path)
    assert FromFile(whole)(part, 1).tolist() == GIVEN[index].tolist()
    by_index = LISTS["csv of pandas"](tmp_path)
    assert FromFile(by_index)(part, 1).tolist() == GIVEN[index].tolist()
    own = array(GIVEN[index])(tmp_path)
    assert FromFile(own)(part, 1).tolist() == GIVEN[index].tolist()


def test_numbers_that_are_names_are_names_where_all_are(tmp_path: Path) -> None:
    """In a `.csv` alone, which cannot tell them apart; folders 1, 2, 10 are classes 0, 2, 1."""
    clean = CleanLabels(np.array([0, 1, 2]), 3, "pages", class_names=("1", "10", "2"))
    assert FromFile(text("l.csv", "10\n2\n1\n")(tmp_path))(clean, 1).tolist() == [1, 2, 0]
    assert FromFile(text("l.csv", "0\n2\n1\n")(tmp_path))(clean, 1).tolist() == [0, 2, 1]
    assert FromFile(text("l.json", "[1, 2, 1]")(tmp_path))(clean, 1).tolist() == [1, 2, 1]


def test_a_run_s_own_file_is_none_of_them(tmp_path: Path) -> None:
    inject(FromFile(LISTS["npy"](tmp_path)), CLEAN, 1).save(tmp_path / "labels.npz")
    assert not is_list(tmp_path / "labels.npz")
    assert FromFile(tmp_path)(CLEAN, 1).tolist() == GIVEN.tolist()


ROWS = [f"{p},{g}" for p, g in zip(PATHS, GIVEN, strict=True)]
WRONG: dict[str, tuple[Write, str]] = {
    "too few": (array(GIVEN[:9]), "holds 9 labels, but there are 12 training images; it must hold"),
    "too many": (text("l.json", "[0, 1" + ", 2" * 20 + "]"), "holds 22 labels, but there are 12"),
    "none": (text("l.csv", ""), "holds no labels"),
    "an unknown name": (
        text("l.csv", lines("cat", "emu", *["dog"] * 10)),
        "'emu' at 1 is no class of this data set, which has cat, dog, shark, white shark$",
    ),
    "neither": (text("l.csv", lines("1", "x", *["2"] * 10)), "'x' at 1 is no class"),
    "a name among numbers": (text("l.csv", lines("cat", "1", *["2"] * 10)), "'1' at 1 is no class"),
    "a number out of range": (array(GIVEN + 1), r"labels must be in \[0, 3\), got 3 at 2"),
    "a half": (array(GIVEN + 0.5), "holds 0.5 at 0, neither a whole number nor a name"),
    "no number": (text("l.json", "[null]"), "holds None at 0, neither"),
    "a large number": (text("l.json", "[1e300]"), "at 0, which is no class"),
    "two dimensions": (array(GIVEN.reshape(3, 4)), "holds no list of labels, one an image"),
    "a number alone": (text("l.json", "3"), "holds no list of labels"),
    "other columns": (arrays(x=GIVEN, y=TRUE), "holds x, y, and no label, labels, noise_label"),
    "three columns": (text("l.csv", "a,b,c\n"), "has 3 columns, and none is called label or"),
    "a short row": (text("l.csv", "path,label\na.png\n"), "no label in row 2, or another number"),
    "an empty cell": (text("l.csv", "a.png,1\nb.png,\n"), "no label in row 2"),
    "different lengths": (arrays(label=GIVEN, path=np.array(PATHS[:9])), "12 labels, but 9 paths"),
    "an unknown path": (
        text("l.csv", lines(*ROWS[:-1], "train/cat/x.png,0")),
        f"no label for 1 of 12 training images, such as {PATHS[11]}; it names train/cat/x.png, wh",
    ),
    "a path too few": (
        text("l.csv", lines(*ROWS[1:])),
        f"no label for 1 of 12 training images, such as {PATHS[0]}$",
    ),
    "a path that is two": (text("l.csv", lines(*ROWS[1:], "0.png,1")), "it names 0.png, which is"),
    "a path twice": (
        text("l.csv", lines(*ROWS, ROWS[2])),
        f"more than one label for {PATHS[2]}, in rows 3 and 13",
    ),
    "an index too few": (text("l.csv", "index,label\n0,1\n"), "such as that with index 1$"),
    "an index twice": (text("l.csv", "index,label\n0,1\n0,1\n"), "an index more than once"),
    "an index that is none": (text("l.csv", "index,label\nx,1\n"), "holds 'x' among its indices"),
    "broken json": (text("l.json", "[1, 2"), "cannot be read as a list of labels"),
    "deep json": (text("l.json", "[" * 100_000), "cannot be read as a list of labels"),
    "no npy": (text("l.npy", "text"), "cannot be read as a list of labels"),
    "a pickle": (array(GIVEN.astype(object)), "cannot be read as a list of labels"),
    "no text": (
        lambda f: array(GIVEN)(f).rename(f / "l.csv"),
        "cannot be read as a list of labels",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_list_is_told_on_one_line(kind: str, tmp_path: Path) -> None:
    write, message = WRONG[kind]
    path = write(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        FromFile(path)(CLEAN, 1)
    assert str(caught.value).startswith(f"noise.path: {path}")
    assert "\n" not in str(caught.value)


def test_paths_need_images_that_have_some(tmp_path: Path) -> None:
    path = LISTS["csv of paths"](tmp_path)
    with pytest.raises(InputError, match="those of pets have none; leave the column out"):
        FromFile(path)(replace(CLEAN, paths=None), 1)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^noise\.path: there is no file "):
        read_list(tmp_path / "l.csv")
