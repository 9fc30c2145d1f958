"""Methods that learn from true labels too: they are lent some unasked, and say where none are."""

import json
from collections.abc import Callable
from pathlib import Path

import official_data
import pytest
from every import METHODS, uses_truth
from omegaconf import DictConfig
from processes import QUIET

NAMES = [name for name in METHODS if uses_truth(name)]
Composed = Callable[..., DictConfig]


@pytest.mark.parametrize("name", [*NAMES, "pmnar", "ce"])
def test_these_methods_alone_are_lent_some_unasked(composed: Composed, name: str) -> None:
    expected = 100 if name in NAMES else 0
    assert composed(f"method={name}").data.clean == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_data_set_says_how_many_and_what_is_typed_beats_it(
    composed: Composed, name: str
) -> None:
    assert composed(f"method={name}", "dataset=fashion_mnist").data.clean == 1000
    assert composed(f"method={name}", "dataset.recipe.clean=30").data.clean == 30
    assert composed("data.clean=7", f"method={name}").data.clean == 7


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_whose_labels_nobody_checked_is_refused(
    refuse: Callable[..., str], tmp_path: Path, name: str
) -> None:
    official_data.write_image_folder(tmp_path / "images")
    own = (*QUIET, "dataset=image_folder", f"data_dir={tmp_path / 'images'}", "recipe=paper")
    of_few = (*own, f"method={name}", "data.batch_size=6", "dataset.recipe.clean=6")
    said = refuse(start=of_few)
    assert said.startswith("data.clean=6 needs true labels, and none is known: set data.clean=0, ")
    none = refuse("data.clean=0", start=of_few)
    assert "set data.clean to how many are held out for it" in none


def test_each_device_needs_two(refuse: Callable[..., str]) -> None:
    few = (*QUIET, f"method={NAMES[0]}", "data.clean=3", "trainer.devices=2")
    assert "data.clean must be at least 4, two for each of 2 devices, got 3" in refuse(start=few)


def test_a_run_says_how_many_it_has_learnt_from(run: Callable[..., Path]) -> None:
    folder = run(f"method={NAMES[0]}", "trainer.fast_dev_run=true", "data.clean=30")
    assert json.loads((folder / "summary.json").read_text())["true_labels"] == 30
