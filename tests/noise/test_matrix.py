from pathlib import Path

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import CleanLabels, Matrix, inject
from pmnar.noise.matrix import check_matrix

MATRIX = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
CLEAN = CleanLabels(np.arange(30_000) % 3, 3)


def test_frequencies_match_the_matrix() -> None:
    found = inject(Matrix(matrix=MATRIX), CLEAN, 1).transition_matrix()
    assert np.abs(found - MATRIX).max() < 4 * 0.5 / np.sqrt(10_000)
    assert (found[MATRIX == 0] == 0).all()


def test_identity_changes_nothing_and_input_is_kept() -> None:
    before = CLEAN.labels.copy()
    assert np.array_equal(Matrix(matrix=np.eye(3))(CLEAN, 1), CLEAN.labels)
    Matrix(matrix=MATRIX)(CLEAN, 1)
    assert np.array_equal(CLEAN.labels, before)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Matrix(matrix=MATRIX)(CLEAN, 1)
    monkeypatch.setattr("pmnar.noise.matrix._CHUNK_VALUES", 1000)
    assert np.array_equal(Matrix(matrix=MATRIX)(CLEAN, 1), whole)


def test_golden_labels() -> None:
    clean = CleanLabels(np.arange(15) % 3, 3)
    assert "".join(map(str, Matrix(matrix=MATRIX)(clean, 1))) == "022012022122022"


def test_every_file_format_gives_the_same_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MATRIX)
    np.savez(tmp_path / "m.npz", matrix=MATRIX)
    np.savetxt(tmp_path / "comma.csv", MATRIX, delimiter=", ")
    np.savetxt(tmp_path / "m.txt", MATRIX, header="true x given")
    expected = Matrix(matrix=MATRIX)(CLEAN, 5)
    for name in ("m.npy", "m.npz", "comma.csv", "m.txt"):
        assert np.array_equal(Matrix(path=tmp_path / name)(CLEAN, 5), expected)


def test_rows_that_were_rounded_are_made_whole_and_others_stay_to_the_bit() -> None:
    sym50 = np.full((10, 10), 0.0556)  # a ninth of a half, as people write it
    np.fill_diagonal(sym50, 0.5)
    found = check_matrix(sym50, 10)
    np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, sym50 / 1.0004, rtol=1e-12)
    assert np.array_equal(check_matrix(MATRIX, 3), np.asarray(MATRIX, float))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(4), r"be a matrix of shape \(3, 3\), got \(4, 4\)"),
        (np.ones(3), r"be a matrix of shape \(3, 3\), got \(3,\)"),
        ([[1, 0, 0], [0, 1.5, -0.5], [0, 0, 1]], "got -0.5 in row 1, column 2"),
        ([[1, 0, 0], [0, np.nan, 1], [0, 0, 1]], "got nan in row 1, column 1"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0.9]], "rows that sum to 1, row 2 sums to 0.9"),
        ([["a"]], "be a table of numbers"),
    ],
)
def test_bad_matrices(matrix: list[list[float]], message: str) -> None:
    with pytest.raises(InputError, match=f"^noise.matrix must .*{message}"):
        Matrix(matrix=matrix)(CLEAN, 1)


def test_bad_files(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=MATRIX, b=MATRIX)
    (tmp_path / "words.csv").write_text("a,b\n")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    np.savetxt(tmp_path / "short.csv", MATRIX * 0.5)
    for name, message in (
        ("pickled.npy", "cannot be read as a table of numbers"),
        ("two.npz", "must hold one array, got 2"),
        ("words.csv", "cannot be read as a table of numbers"),
        ("torn.npz", "cannot be read as a table of numbers"),
        ("absent.npy", "there is no file"),
        ("matrix.pt", "must end in .npy, .npz, .csv or .txt"),
        ("short.csv", "rows that sum to 1, row 0 sums to 0.5"),
    ):
        with pytest.raises(InputError, match=f"noise.path.*{message}"):
            Matrix(path=tmp_path / name)(CLEAN, 1)


def test_path_or_matrix() -> None:
    for path, matrix in ((None, None), ("m.npy", MATRIX)):
        with pytest.raises(InputError, match=r"set either noise\.path or noise\.matrix"):
            Matrix(path, matrix)
