"""The matrices of a run's method, drawn and reported."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pmnar.callbacks.tables import matrix_text
from pmnar.errors import InputError
from pmnar.figures import write_figures, write_report
from pmnar.figures.matrix import matrix_figure

MakeRun = Callable[..., Path]


def with_matrix(run: Path, text: str) -> Path:
    """A run of a method that has a matrix."""
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"matrices": ["transition"]}))
    (run / "transition.csv").write_text(text)
    return run


@pytest.mark.filterwarnings("error")
def test_a_matrix_is_drawn_and_reported(make_run: MakeRun) -> None:
    text = matrix_text(torch.eye(3))
    run = with_matrix(make_run(), text)
    path = run / "figures" / "transition.png"
    assert path in write_figures(run)
    with Image.open(path) as image:
        assert 400 <= image.size[0] <= 1500
    assert "Matrix: transition" in write_report(run).read_text()
    (run / "transition.csv").unlink()
    assert path not in write_figures(run), "an unfinished run's"


def test_what_is_no_table_is_told(make_run: MakeRun) -> None:
    run = with_matrix(make_run(), "1,2\n3,x\n")
    with pytest.raises(InputError, match=r"transition\.csv is no table of numbers"):
        write_figures(run)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("size", "named", "written"), [(3, 3, 9), (20, 20, 0), (200, None, 0)])
def test_names_and_numbers_are_there_where_they_are_legible(
    size: int, named: int | None, written: int
) -> None:
    axes = matrix_figure(np.eye(size), [f"$c{k}" for k in range(size)]).axes[0]
    assert len(axes.texts) == written
    if named is not None:
        assert [t.get_text() for t in axes.get_yticklabels()] == [f"$c{k}" for k in range(named)]
