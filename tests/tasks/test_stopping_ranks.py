"""One of several ranks that is stopped, killed, fails or hangs: the others end, and it is told."""

import signal
import subprocess
from pathlib import Path

import pytest
from outcomes import content, rows_of
from processes import (
    SHORT,
    finish,
    start,
    the_run_below,
    wait_until,
)
from stopping import SIGNALS, advice, go_on


def two_ranks(root: Path, strategy: str = "ddp") -> tuple[str, ...]:
    """A run on two ranks of the CPU."""
    return (*SHORT, f"runs_dir={root}", "trainer.devices=2", f"trainer.strategy={strategy}")


STRATEGIES = (
    "ddp",
    pytest.param("ddp_spawn", marks=pytest.mark.slow),
    pytest.param("ddp_fork", marks=pytest.mark.slow),
)


@pytest.mark.ddp
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_rank_ends_the_others(tmp_path: Path, strategy: str) -> None:
    """And the run goes on from its checkpoint."""
    ended = finish(start(*two_ranks(tmp_path, strategy), fault="epoch:3:9", rank=1), 60)
    folder = the_run_below(tmp_path)
    assert ended.code == 1
    assert f"error: rank 1 was killed by SIGKILL; {advice(folder)}" in ended.err.splitlines()
    assert content(folder)["epoch"] == 1
    go_on(folder)
    assert [row["epoch"] for row in rows_of(folder)] == ["1", "2", "3", "4"]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_s_error_ends_the_others_and_is_shown(
    tmp_path: Path, strategy: str, rank: int
) -> None:
    ended = finish(start(*two_ranks(tmp_path, strategy), fault="error:3:0", rank=rank), 60)
    folder = the_run_below(tmp_path)
    assert ended.code == 1
    assert "ZeroDivisionError: an error of one rank" in ended.err
    assert advice(folder) in ended.err
    assert "gloo" not in ended.err.replace("distributed_backend=gloo", "")
    assert content(folder)["epoch"] == 1


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
@pytest.mark.parametrize(("name", "rank"), [("SIGTERM", 0), ("SIGTERM", 1), ("SIGINT", 1)])
def test_a_signal_to_one_rank_stops_all(
    tmp_path: Path, strategy: str, name: str, rank: int
) -> None:
    number = signal.Signals[name].value
    # Rank 0 hears of another's signal within half a second, in which it trains a few epochs.
    long = (*two_ranks(tmp_path, strategy), "dataset.recipe.max_epochs=100")
    ended = finish(start(*long, fault=f"epoch:3:{number}", rank=rank), 120)
    folder = the_run_below(tmp_path)
    assert ended.code == SIGNALS[name], ended
    done = content(folder)["epoch"] + 1
    assert done == 2 if rank == 0 else done >= 2
    said = f"stopped by {name} after epoch {done} of 100; {advice(folder)}"
    assert ended.out.splitlines()[-1] == said
    assert "Traceback" not in ended.err


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_a_signal_to_the_command_stops_all_ranks(tmp_path: Path, strategy: str) -> None:
    log = tmp_path / "started"
    more = ("dataset.recipe.max_epochs=400",)
    process = start(*two_ranks(tmp_path / "runs", strategy), *more, log=log)
    wait_until(lambda: log.is_file() and len(log.read_text().split()) > 2, process)
    process.send_signal(signal.SIGTERM)
    ended = finish(process, 60)
    assert ended.code == 143
    assert "stopped by SIGTERM after epoch" in ended.out.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.ddp
@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_others(tmp_path: Path) -> None:
    """SIGSTOP: it lives, and never answers. After PATIENCE, 45 seconds, it is taken for dead."""
    process = start(*two_ranks(tmp_path), fault=f"epoch:3:{signal.SIGSTOP.value}", rank=1)
    process.wait(120)
    subprocess.run(["pkill", "-CONT", "-f", str(tmp_path)], check=False)
    ended = finish(process)
    assert ended.code == 1
    assert "error: rank 1 has given no sign of life for 45 s" in ended.err


@pytest.mark.ddp
@pytest.mark.slow
def test_a_diverging_run_on_two_ranks_ends_with_one_line(tmp_path: Path) -> None:
    for strategy in ("ddp", "ddp_spawn"):
        ended = finish(
            start(*two_ranks(tmp_path / strategy, strategy), "dataset.recipe.learning_rate=1e30"),
            60,
        )
        lines = [line for line in ended.err.splitlines() if "error" in line]
        assert ended.code == 2, ended
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: the loss is not finite at epoch 1")
