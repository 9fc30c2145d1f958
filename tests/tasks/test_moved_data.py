"""One key says where a data set is, also one that has moved since a run was trained on it."""

import json
from collections.abc import Callable
from pathlib import Path

import official_data
import pytest
import yaml
from omegaconf import OmegaConf
from processes import QUIET, Result

from pmnar.tasks.places import from_its_start, move_data

Command = Callable[..., Result]
SMALL = (
    *QUIET,
    *("dataset=image_folder", "noise=clean", "method=ce", "network=small_cnn", "network.width=8"),
    *("dataset.source.image_size=8", "data.batch_size=6", "trainer.max_epochs=1"),
)


@pytest.mark.parametrize("key", ["data_dir", "dataset.source.data_dir"])
def test_a_folder_that_moved_is_found_again(
    command: Command, tmp_path: Path, runs: Path, key: str
) -> None:
    old, new, newer = tmp_path / "old", tmp_path / "new", tmp_path / "newer"
    official_data.write_image_folder(old, side=8)
    trained = command("train", *SMALL, f"{key}={old}", f"runs_dir={runs}")
    assert trained.code == 0, trained.err
    [run] = [path.parent for path in runs.rglob("config.yaml")]
    old.rename(new)
    told = command("evaluate", f"run={run}", "accelerator=cpu")
    assert (told.code, str(old) in told.err) == (2, True)
    first = command("evaluate", f"run={run}", "accelerator=cpu", f"data_dir={new}")
    assert first.code == 0, first.err
    new.rename(newer)
    gone_on = command("train", f"resume={run}", f"data_dir={newer}")
    assert gone_on.code == 0, gone_on.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["data_dir"], config["dataset"]["source"]["data_dir"]) == (str(newer),) * 2
    second = command("evaluate", f"run={run}", "accelerator=cpu")
    assert second.code == 0, second.err
    assert json.loads(first.out) == json.loads(second.out)


@pytest.mark.parametrize(
    ("source", "noise", "moved"),
    [
        ("data", "data/cifar-n/x.pt", ("new", "new/cifar-n/x.pt")),
        ("data/tiny", "labels.csv", ("new/tiny", "labels.csv")),
        ("my_images", "labels.csv", ("new", "labels.csv")),
    ],
)
def test_what_moves_with_the_data(source: str, noise: str, moved: tuple[str, str]) -> None:
    config = OmegaConf.create(
        {"data_dir": "data", "dataset": {"source": {"data_dir": source}}, "noise": {"path": noise}}
    )
    move_data(config, "data", "new")
    assert (config.dataset.source.data_dir, config.noise.path, config.data_dir) == (*moved, "new")


def test_a_run_finds_its_data_from_another_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`data_dir` and `runs_dir` are relative to where the run was started from."""
    (tmp_path / "elsewhere").mkdir()
    official_data.write_image_folder(tmp_path / "images" / "mine", side=8)
    monkeypatch.chdir(tmp_path)
    source = ("data_dir=images/mine", "runs_dir=all/runs")
    trained = command("train", *SMALL, *source)
    assert trained.code == 0, trained.err
    [run] = [path.parent for path in (tmp_path / "all").rglob("config.yaml")]
    here = command("evaluate", f"run={run}", "accelerator=cpu")
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = command("evaluate", f"run={run}", "accelerator=cpu")
    assert (here.code, there.code) == (0, 0), there.err
    assert json.loads(here.out) == json.loads(there.out)
    gone_on = command("train", f"resume={run}", "trainer.max_epochs=2")
    assert gone_on.code == 0, gone_on.err


def test_an_error_on_a_relative_place_says_from_where_it_was_looked(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = command("train", *SMALL, "data_dir=images/mine")
    assert (told.code, told.err.rstrip().endswith(f"(seen from {tmp_path})")) == (2, True)
    told = command("train", *SMALL, f"data_dir={tmp_path / 'images'}")
    assert (told.code, "seen from" in told.err) == (2, False)


@pytest.mark.parametrize("runs_dir", ["/abs/runs", "other", "../runs"])
def test_where_a_run_was_started_from_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs_dir: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "matrix.csv").touch()
    given = {"data_dir": "images", "runs_dir": runs_dir, "dataset": {"source": {}}, "noise": {}}
    given |= {"method": {"matrix": "matrix.csv"}}
    for where, place in ((runs_dir, "images"), ("runs", str(tmp_path / "images"))):
        config = OmegaConf.create(given | {"runs_dir": where})
        from_its_start(config, tmp_path / "runs" / "digits" / "sym50" / "ce" / "run")
        assert config.data_dir == place
        assert config.method.matrix == place.replace("images", "matrix.csv")
