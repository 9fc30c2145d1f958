import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import (
    Asymmetric,
    Clean,
    CleanLabels,
    FromFile,
    Human,
    Matrix,
    Noise,
    NoisyLabels,
    PairFlip,
    Symmetric,
    inject,
)

INDEX = np.arange(0, 200, 2)
CLEAN = CleanLabels(np.arange(100) % 5, 6, "digits", INDEX)


def equal(a: NoisyLabels, b: NoisyLabels) -> bool:
    first, second = (
        {key: np.asarray(value).tolist() for key, value in vars(x).items()} for x in (a, b)
    )
    return first == second


def test_what_is_known_of_the_labels() -> None:
    labels = inject(Symmetric(0.5), CLEAN, 3)
    assert labels.actual_rate == 0.5
    assert labels.describe() == "sym50: nominal 50.0 %, actual 50.0 % (50 of 100 labels), seed 3"
    assert (labels.dataset, labels.num_classes, labels.seed) == ("digits", 6, 3)
    assert json.loads(labels.spec) == {"noise": "Symmetric", "rate": 0.5, "include_true": False}
    assert np.array_equal(labels.index, INDEX)
    assert labels.true is not None
    assert np.array_equal(labels.true, CLEAN.labels)
    assert not np.shares_memory(labels.true, CLEAN.labels)


def test_a_rate_with_two_decimals_and_thousands() -> None:
    true = np.zeros(50_000, np.int64)
    given = (np.arange(50_000) < 20_104).astype(np.int64)
    labels = NoisyLabels(given, true, true, 10, "cifar10", "human_worse", None, 1)
    assert labels.describe() == "human_worse: actual 40.21 % (20,104 of 50,000 labels), seed 1"


def test_transition_matrix_counts() -> None:
    labels = inject(PairFlip(0.2), CLEAN, 1)
    matrix = labels.transition_matrix()
    expected = 0.8 * np.eye(6) + 0.2 * np.roll(np.eye(6), 1, axis=1)
    expected[5] = np.eye(6)[5]
    assert matrix == pytest.approx(expected)
    assert matrix.sum(axis=1) == pytest.approx(np.ones(6))


def test_unknown_truth() -> None:
    labels = inject(Clean(), CLEAN, 1, truth_known=False)
    assert labels.true is None
    assert labels.actual_rate is None
    assert (
        labels.describe()
        == "clean: nominal 0.0 %, actual unknown (100 labels, as they are), seed 1"
    )
    with pytest.raises(InputError, match="needs true labels"):
        labels.transition_matrix()


def test_noise_over_unknown_truth_makes_it_the_truth() -> None:
    assert inject(Symmetric(0.2), CLEAN, 1, truth_known=False).actual_rate == 0.2


@pytest.mark.parametrize("noise", [Clean(), Symmetric(0.2)], ids=["clean", "sym20"])
def test_a_file_keeps_what_it_knows(noise: Noise, tmp_path: Path) -> None:
    first = inject(noise, CLEAN, 1, truth_known=False)
    first.save(tmp_path / "labels.npz")
    again = inject(FromFile(tmp_path), CLEAN, 9, truth_known=False)
    assert np.array_equal(again.given, first.given)
    assert (again.true is None) == (first.true is None)
    assert inject(FromFile(tmp_path), CLEAN, 9).actual_rate == (first.actual_rate or 0.0)


@pytest.mark.parametrize(
    ("noise", "truth_known"),
    [
        (Symmetric(0.5), True),
        (Asymmetric(0.3, {1: 0}), True),
        (Matrix(matrix=np.eye(6)), True),
        (Clean(), False),
    ],
)
def test_saved_labels_come_back(noise: Noise, truth_known: bool, tmp_path: Path) -> None:
    labels = inject(noise, CLEAN, 2**64 - 1, truth_known)
    labels.save(tmp_path / "labels.npz")
    assert equal(NoisyLabels.load(tmp_path / "labels.npz"), labels)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.npz"]
    for path in (tmp_path, tmp_path / "labels.npz"):
        assert np.array_equal(FromFile(path)(CLEAN, 1), labels.given)


@pytest.mark.parametrize(
    ("clean", "message"),
    [
        (replace(CLEAN, dataset="mnist"), "the data set of .* is 'digits', this run's 'mnist'"),
        (replace(CLEAN, num_classes=7), "the number of classes of .* is 6, this run's 7"),
        (CleanLabels(CLEAN.labels[:9], 6, "digits"), "the number of samples of .* is 100, this"),
        (replace(CLEAN, index=INDEX + 1), "holds labels of other samples"),
        (replace(CLEAN, labels=CLEAN.labels[::-1]), "the true labels in .* are not those"),
    ],
)
def test_a_file_for_another_run(clean: CleanLabels, message: str, tmp_path: Path) -> None:
    inject(Symmetric(0.5), CLEAN, 1).save(tmp_path / "labels.npz")
    with pytest.raises(InputError, match=rf"^noise\.path: .*{message}") as caught:
        FromFile(tmp_path)(clean, 1)
    assert "\n" not in str(caught.value)


def header(**changes: object) -> np.ndarray[Any, Any]:
    fields = {"num_classes": 6, "dataset": "digits", "name": "x", "nominal_rate": 0.5}
    return np.array(json.dumps(fields | {"seed": 1, "spec": "{}"} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.int64(2)}, "no label file of format 1"),
        ({"format": None}, "no label file of format 1"),
        ({"format": np.array("one")}, "no label file of format 1"),
        ({"header": None}, "does not fit together"),
        ({"header": np.array("{")}, "does not fit together"),
        ({"header": np.array('{"num_classes": 6}')}, "does not fit together"),
        ({"header": header(num_classes=4)}, r"given labels must be in \[0, 4\), got"),
        ({"header": header(num_classes="6")}, "does not fit together"),
        ({"given": None}, "does not fit together"),
        ({"given": CLEAN.labels[:5]}, "5 given labels, but 100 true labels"),
        ({"given": CLEAN.labels + 0.5}, "given labels must be whole numbers"),
        ({"given": CLEAN.labels.astype(object)}, "not a file of saved labels"),
        ({"true": CLEAN.labels - 1}, r"true labels must be in \[0, 6\), got -1 at 0"),
        ({"index": INDEX[:3]}, "100 given labels, but 3 indices"),
    ],
)
def test_tampered_files(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    content: dict[str, Any] = {"format": np.int64(1), "header": header(), "given": CLEAN.labels}
    content |= {"true": CLEAN.labels, "index": INDEX} | changes
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(InputError, match=rf"^noise\.path: .*{message}"):
        NoisyLabels.load(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    with pytest.raises(InputError, match=r"noise\.path: there is no file"):
        FromFile(path)(CLEAN, 1)
    inject(Symmetric(0.5), CLEAN, 1).save(path)
    whole = path.read_bytes()
    for content in (whole[:100], b"", b"text", whole[:60] + b"\xff" * 8 + whole[68:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"noise\.path: .* (damaged|not a file of saved)"):
            NoisyLabels.load(path)
    np.save(path.with_suffix(".npy"), CLEAN.labels)
    with pytest.raises(InputError, match="not a file of saved labels"):
        NoisyLabels.load(path.with_suffix(".npy"))


def test_seed_is_checked_even_where_nothing_is_drawn() -> None:
    for noise in (Clean(), Human("absent.pt", "worse_label", "cifar10")):
        with pytest.raises(InputError, match="seed must be a whole number"):
            inject(noise, CLEAN, -1)
