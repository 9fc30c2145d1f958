"""Runs that a signal, a lost rank or a full disk ends: what is said, what is left, going on."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from outcomes import content, rows_of, unequal
from processes import (
    ROOT,
    SHORT,
    environment,
    finish,
    run_below,
    start,
    the_run_below,
    wait_until,
)
from stopping import SIGNALS, advice, go_on, told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    root = tmp_path_factory.mktemp("whole")
    ended = finish(start(*SHORT, f"runs_dir={root}"))
    assert ended.code == 0, ended
    return the_run_below(root)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_stops_at_the_next_step(tmp_path: Path, whole: Path, name: str) -> None:
    """Two epochs are finished, the third has begun."""
    number = signal.Signals[name].value
    log = tmp_path / "started"
    ended = finish(start(*SHORT, f"runs_dir={tmp_path}", fault=f"epoch:3:{number}", log=log))
    folder = the_run_below(tmp_path)
    assert ended.code == SIGNALS[name]
    assert ended.out.splitlines()[-1] == f"stopped by {name} after epoch 2 of 4; {advice(folder)}"
    assert told(ended.err) == []
    assert log.read_text().split() == ["1", "2", "3"]
    assert content(folder)["epoch"] == 1
    assert [row["epoch"] for row in rows_of(folder)] == ["1", "2"]
    assert [path.name for path in folder.rglob(".*")] == [".lock"]
    assert f"resuming after epoch 2 of 4: {folder}" in go_on(folder).out
    assert unequal(whole, folder) == []


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Where the first step boundary does not come."""
    script = """
import os, signal, sys, time
from pmnar.runtime.stop import StopOnSignal
from pmnar.runtime.watch import RankWatch
stop = StopOnSignal(RankWatch())
stop._install()
print("ready", flush=True)
while stop.signum is None:
    time.sleep(0.01)
print("heard", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # an echo: the terminal's, and a launcher's
        assert process.stdout.readline() == "heard\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_a_run_without_a_finished_epoch_begins_again_where_it_is(
    tmp_path: Path, whole: Path
) -> None:
    ended = finish(start(*SHORT, f"runs_dir={tmp_path}", fault="epoch:1:15"))
    folder = the_run_below(tmp_path)
    assert ended.code == 143
    assert "stopped by SIGTERM after epoch 0 of 4" in ended.out
    assert not (folder / "checkpoints").exists()
    assert f"beginning again {folder}" in go_on(folder).out
    assert unequal(whole, folder) == []


def test_a_finished_run_is_left_as_it_is_by_resuming(whole: Path) -> None:
    figures = ("metrics.csv", "samples.parquet", "labels.npz")
    before = {name: (whole / name).read_bytes() for name in figures}
    out = go_on(whole / "checkpoints", "figures=true").out
    assert f"finished, 4 of 4 epochs: {whole}" in out
    assert "Test accuracy" in out
    refused = finish(start(f"resume={whole}", "method.beta=7"))
    assert refused.code == 2
    assert "method.beta: 1.0 → 7 would change nothing: the run is finished" in refused.err
    assert {name: (whole / name).read_bytes() for name in figures} == before


def test_an_override_leaves_the_earlier_configuration_behind(tmp_path: Path) -> None:
    finish(start(*SHORT, f"runs_dir={tmp_path}", fault="epoch:3:15"))
    folder = the_run_below(tmp_path)
    before = (folder / "config.yaml").read_text()
    found = go_on(folder, "method.beta=0.5")
    assert "changed  method.beta: 1.0 → 0.5" in found.out
    assert (folder / "config-until-epoch-2.yaml").read_text() == before
    assert "beta: 0.5" in (folder / "config.yaml").read_text()


def test_a_changed_run_that_stops_at_once_keeps_its_change(tmp_path: Path) -> None:
    """Its checkpoint has not heard of it yet; of the first two epochs the record stays right."""
    finish(start(*SHORT, f"runs_dir={tmp_path}", fault="epoch:3:15"))
    folder = the_run_below(tmp_path)
    before = (folder / "config.yaml").read_text()
    stopped = finish(start(f"resume={folder}", "method.beta=0.5", fault="epoch:3:15"))
    assert stopped.code == 143
    finish(start(f"resume={folder}", "method.beta=0.25", fault="epoch:3:15"))
    go_on(folder)
    assert "beta: 0.25" in (folder / "config.yaml").read_text()
    assert content(folder)["pmnar"]["config"]["method"]["beta"] == 0.25
    assert (folder / "config-until-epoch-2.yaml").read_text() == before


def test_going_back_leaves_one_past_even_when_it_is_killed(tmp_path: Path, whole: Path) -> None:
    """From epoch 2 of 4, killed between the table's row 3 and its checkpoint."""
    ended = finish(start(*SHORT, "checkpoint.keep=4", f"runs_dir={tmp_path}"))
    assert ended.code == 0, ended
    folder = the_run_below(tmp_path)
    place = folder / "checkpoints" / "epoch-0002.ckpt"
    assert finish(start(f"resume={place}", fault="tables:1:0")).code == -9
    assert content(folder)["epoch"] == 1
    assert not (folder / "summary.json").exists()
    assert (folder / "summary-of-epoch-4.json").is_file()
    go_on(folder)
    assert unequal(whole, folder) == []


@pytest.mark.parametrize("bytes_left", [100_000, 1_000])
def test_a_full_disk_ends_with_a_line_and_the_previous_checkpoint(
    tmp_path: Path, whole: Path, bytes_left: int
) -> None:
    """The kernel refuses to let a file grow: a checkpoint has 300 kB, the tables have a few."""
    finish(start(*SHORT, f"runs_dir={tmp_path}", fault="epoch:3:15"))
    folder = the_run_below(tmp_path)
    before = content(folder)
    limit = f"ulimit -f {-(-bytes_left // 1024)}; exec {shlex.join(_command(folder))}"
    done = subprocess.run(
        ["bash", "-c", limit],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    [line] = told(done.stderr)
    name = "last.ckpt" if bytes_left == 100_000 else "metrics.csv"
    assert done.returncode == 1
    assert re.fullmatch(f"error: cannot write .*{name}: File too large; {advice(folder)}", line)
    assert torch.equal(content(folder)["state_dict"]["labels"], before["state_dict"]["labels"])
    assert content(folder)["epoch"] == 1
    assert not list(folder.rglob(".*.tmp"))
    go_on(folder)
    assert unequal(whole, folder) == []


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "src.train", f"resume={folder}"]


def test_a_folder_that_cannot_be_written_to_ends_with_a_line(tmp_path: Path) -> None:
    """A file stands where the folder of checkpoints should be, whoever the user is."""
    finish(start(*SHORT, f"runs_dir={tmp_path}", fault="epoch:1:15"))
    folder = the_run_below(tmp_path)
    (folder / "checkpoints").write_text("in the way")
    ended = finish(start(f"resume={folder}"))
    assert ended.code == 1
    [line] = told(ended.err)
    assert re.fullmatch(f"error: cannot write .*last.ckpt: .*; {advice(folder)}", line)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, whole: Path) -> None:
    root = tmp_path / "runs"
    long = ("dataset.recipe.max_epochs=400", f"runs_dir={root}")
    process = start(*SHORT, *long)

    def has_begun() -> bool:
        folder = run_below(root)
        return folder is not None and (folder / "checkpoints" / "last.ckpt").is_file()

    wait_until(has_begun, process)
    folder = the_run_below(root)
    second = finish(start(f"resume={folder}"))
    process.send_signal(signal.SIGTERM)
    assert finish(process).code == 143
    assert second.code == 2
    assert told(second.err) == [f"error: another process is training in {folder}"]
