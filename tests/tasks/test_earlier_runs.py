"""Which earlier run is one of just this configuration, and is not done again."""

from collections.abc import Callable
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from processes import Result

from pmnar.tasks.find import earlier_run, is_finished, matching_runs

Command = Callable[..., Result]


Composed = Callable[..., DictConfig]


Short = tuple[str, ...]


def test_runs_match_where_nothing_that_matters_differs(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    folder = short_run("trainer.max_epochs=1", "method.beta=1")

    def found(*overrides: str) -> list[Path]:
        same = (*short, f"runs_dir={runs}", "trainer.max_epochs=1", "method.beta=1")
        return matching_runs(composed(*same, *overrides))

    assert found() == [folder]
    assert found("data_dir=elsewhere") == [folder]  # where the digits are not read from
    without_effect = ("figures=true", "logger=tensorboard", "skip_done=true", "launcher=joblib")
    assert found(*without_effect) == found("method.beta=1.0") == [folder]
    for other in ("method.beta=1.5", "seed=2", "method=pmnar_no_reg", "trainer.devices=2"):
        assert found(other) == []
    (folder / "config.yaml").write_text("a: [")
    assert found() == []


def test_a_run_of_before_a_key_had_its_default(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    """Keys and whole groups that an older version did not write; what it wrote still counts."""
    folder = short_run("trainer.max_epochs=1")
    config = folder / "config.yaml"
    older = yaml.safe_load(config.read_text())
    del older["compute"], older["detection"], older["method"]["beta"]
    config.write_text(yaml.safe_dump(older))

    def found(*overrides: str) -> list[Path]:
        return matching_runs(
            composed(*short, f"runs_dir={runs}", "trainer.max_epochs=1", *overrides)
        )

    # The run was made with one thread, which is not what is written when nothing is said.
    free = "compute.threads=${dataset.recipe.threads}"
    assert found(free) == [folder]
    # What was typed and is the default value is that: the digits' recipe says one thread.
    alike = ("compute.threads=1", "compute.compile=auto")
    for same in (*alike, "method.beta=1.0", "detection.threshold=0.50"):
        assert found(free, same) == [folder]
    others = ("compute.threads=2", "compute.compile=default", "compute.fused_forward=true")
    for other in (*others, "detection.threshold=0.4", "method.beta=3"):
        assert found(free, other) == []
    assert found(free, "seed=2") == found(free, "data.batch_size=50") == []


def test_a_run_that_was_to_be_longer_is_not_finished(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    """Resumed for three epochs and killed before the third, it still has the summary of two."""
    folder = short_run("trainer.max_epochs=2")
    two, three = (
        composed(*short, f"runs_dir={runs}", f"trainer.max_epochs={epochs}") for epochs in (2, 3)
    )
    assert (earlier_run(two), is_finished(folder, two)) == (folder, True)
    config = OmegaConf.load(folder / "config.yaml")
    config.trainer.max_epochs = 3
    OmegaConf.save(config, folder / "config.yaml")
    assert (earlier_run(three), is_finished(folder, three)) == (folder, False)


def test_of_two_earlier_runs_a_finished_one_is_taken(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    older, newer = sorted(short_run("trainer.max_epochs=1") for _ in range(2))
    cfg = composed(*short, f"runs_dir={runs}", "trainer.max_epochs=1")
    assert earlier_run(cfg) == newer
    (newer / "summary.json").unlink()
    assert earlier_run(cfg) == older
    (older / "summary.json").unlink()
    assert earlier_run(cfg) == newer
    (newer / "checkpoints" / "last.ckpt").unlink()
    assert earlier_run(cfg) == older
    (older / "checkpoints" / "last.ckpt").unlink()
    assert earlier_run(cfg) is None


def test_a_single_run_is_not_done_twice(command: Command, short: Short, runs: Path) -> None:
    def call(*overrides: str) -> Result:
        result = command("train", *short, f"runs_dir={runs}", "skip_done=true", *overrides)
        assert result.code == 0, result.err
        return result

    call()
    [folder] = (path.parent for path in runs.rglob("summary.json"))
    both = call("compare=ce")
    assert f"skipped: {folder} has it" in both.out
    assert len(list(runs.rglob("summary.json"))) == 2
    neither = call("compare=ce")
    assert neither.out.count("skipped: ") == 2
    assert len(list(runs.rglob("config.yaml"))) == 2
    table = [line for line in neither.out.splitlines() if line.startswith("│")]
    assert sum("ce" in line.split() for line in table) == 2


def test_a_run_that_was_changed_on_its_way_is_no_run_of_its_last_configuration(
    command: Command, short: tuple[str, ...], runs: Path
) -> None:
    """But one that was only trained for longer is."""
    root = f"runs_dir={runs}"
    assert command("train", *short, root, "trainer.max_epochs=1").code == 0
    [first] = runs.rglob("summary.json")
    assert command("train", f"resume={first.parent}", "trainer.max_epochs=2").code == 0
    longer = command("train", *short, root, "trainer.max_epochs=2", "skip_done=true")
    assert f"skipped: {first.parent} has it" in longer.out
    changed = ("trainer.max_epochs=3", "method.beta=0.5")
    assert command("train", f"resume={first.parent}", *changed).code == 0
    assert "skipped" not in command("train", *short, root, *changed, "skip_done=true").out
    assert len(list(runs.rglob("summary.json"))) == 2
