"""What a run writes at its end is tried before it begins."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pmnar.errors import WriteError
from pmnar.tasks.rehearsal import rehearse

Run = Callable[..., Path]


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a package be one that is not installed."""
    find = importlib.util.find_spec

    def without(package: str) -> None:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name == package else find(name, *rest),
        )

    return without


@pytest.mark.parametrize("package", ["pyarrow", "matplotlib"])
def test_a_missing_package_is_told_before_anything_is_made(
    lacking: Callable[[str], None], refuse: Callable[..., str], package: str
) -> None:
    lacking(package)
    assert refuse("figures=true").startswith(f"{package} is not installed, which writes ")


def test_a_run_without_figures_needs_no_matplotlib(
    lacking: Callable[[str], None], short_run: Run
) -> None:
    lacking("matplotlib")
    assert (short_run("trainer.max_epochs=1") / "summary.json").is_file()


@pytest.mark.parametrize("figures", [False, True])
def test_nothing_is_left_of_it(tmp_path: Path, figures: bool) -> None:
    rehearse(tmp_path, 10, figures)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "accuracy.png").touch()
    rehearse(tmp_path, 10, figures)
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "accuracy.png"]


def test_a_place_that_cannot_be_written_to_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    rehearse(tmp_path, 10, figures=False)
    with pytest.raises(WriteError, match=r"^cannot write .*figures: "):
        rehearse(tmp_path, 10, figures=True)


def test_a_disk_that_is_nearly_full_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 2**20))
    rehearse(tmp_path, 100_000, figures=True)
    with pytest.raises(WriteError, match=r": 50.0 MiB are free there, 95.4 MiB may be needed$"):
        rehearse(tmp_path, 1_000_000, figures=True)
