"""Warnings are a line each, and one rank's: all ranks load the same data and would say the same."""

import sys
import warnings
from collections.abc import Iterator

import pytest
from lightning.pytorch.utilities import rank_zero_only

from pmnar.runtime.quiet import quieten
from pmnar.runtime.run_folder import RANKS


@pytest.fixture(autouse=True)
def _as_in_a_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest records warnings instead of showing them.
        monkeypatch.setattr(warnings, "showwarning", _show)
        yield


def _show(message: Warning | str, category: type[Warning], *place: object) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, "", 0))


def test_a_warning_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    quieten()
    warnings.warn("12 files left out", stacklevel=1)
    assert capsys.readouterr().err == "warning: 12 files left out\n"


@pytest.mark.parametrize("name", RANKS)
def test_a_rank_that_is_a_command_of_its_own_says_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "1")
    quieten()
    warnings.warn("12 files left out", stacklevel=1)
    assert capsys.readouterr().err == ""


def test_a_spawned_rank_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    quieten()
    warnings.warn("12 files left out", stacklevel=1)
    assert capsys.readouterr().err == ""
