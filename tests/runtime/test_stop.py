"""Signals, in this process: what they stop, what is left, and SLURM's requeue signal."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from toy import BATCH, SIZE, Watched, fit, make_data, make_method

from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.stop import RunStopped, StopOnSignal
from pmnar.runtime.watch import RankWatch

STEPS = SIZE // BATCH


class SignalAt(Callback):
    """Sends this process a signal at the beginning of a step, or of a test batch."""

    def __init__(self, number: int, epoch: int, step: int, testing: bool = False) -> None:
        self.number, self.epoch, self.step, self.testing = number, epoch, step, testing

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._maybe(trainer, _[2], testing=False)

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._maybe(trainer, _[2], testing=True)

    def _maybe(self, trainer: L.Trainer, step: int, testing: bool) -> None:
        if (trainer.current_epoch, step, testing) == (self.epoch, self.step, self.testing):
            os.kill(os.getpid(), self.number)


def train(folder: Path, *signals: SignalAt, plugins: tuple[Any, ...] = ()) -> Watched:
    """Train three epochs, as a task does."""
    data = make_data()
    method = make_method(data)
    stop = StopOnSignal(RankWatch())
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=3,
        callbacks=[*signals, stop, RunCheckpoint(folder)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[SafeCheckpointIO(), *plugins],
    )
    try:
        with stop.listening(trainer):
            trainer.fit(method, datamodule=data)
    finally:
        method.trainer = trainer
    return method


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [0, 1, STEPS - 1])
def test_the_step_is_finished_and_no_further_one_begun(
    tmp_path: Path, number: signal.Signals, step: int
) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises(RunStopped) as caught:
        train(tmp_path, SignalAt(number, 1, step))
    assert (caught.value.code, caught.value.signum) == (128 + number, number)
    assert read_checkpoint_epoch(tmp_path) == 0
    assert {n: signal.getsignal(n) for n in before} == before


def read_checkpoint_epoch(folder: Path) -> int:
    """The epoch index of the last checkpoint, which is whole."""
    read: dict[str, Any] = SafeCheckpointIO().load_checkpoint(folder / "checkpoints" / "last.ckpt")
    return int(read["epoch"])


def test_testing_stops_too(tmp_path: Path) -> None:
    with pytest.raises(RunStopped):
        train(tmp_path, SignalAt(signal.SIGTERM, 1, 0, testing=True))
    assert read_checkpoint_epoch(tmp_path) == 0


def test_a_long_ordered_pass_stops_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its next batch; the epoch that it follows is not kept."""
    passes: list[int] = []
    real = Watched._after_ordered_batch

    def signalled(self: Watched) -> None:
        passes.append(self.current_epoch)
        if passes.count(1) == 1 and self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self)

    monkeypatch.setattr(Watched, "_after_ordered_batch", signalled)
    with pytest.raises(RunStopped):
        train(tmp_path)
    assert passes.count(1) == 1
    assert read_checkpoint_epoch(tmp_path) == 0


def test_a_signal_after_the_last_step_stops_what_would_follow(tmp_path: Path) -> None:
    class AtTheEnd(Callback):
        def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunStopped):
        train(tmp_path, AtTheEnd())  # type: ignore[arg-type]
    assert read_checkpoint_epoch(tmp_path) == 2


def test_a_run_that_no_signal_stops_ends(tmp_path: Path) -> None:
    train(tmp_path)
    assert read_checkpoint_epoch(tmp_path) == 2


def test_an_error_after_a_signal_is_the_signal_s(tmp_path: Path) -> None:
    """Such as that of a loader's worker, which the same signal has killed."""

    class WorkerDied(Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.current_epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                raise RuntimeError("DataLoader worker is killed by signal: Terminated")

    with pytest.raises(RunStopped) as caught:
        train(tmp_path, WorkerDied())  # type: ignore[arg-type]
    assert caught.value.signum == signal.SIGTERM


def test_an_error_without_a_signal_stays_what_it_is(tmp_path: Path) -> None:
    class Fails(Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path, Fails())  # type: ignore[arg-type]


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM job of one task, and an `scontrol` that writes down what it is told."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    job = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    return told


@pytest.mark.parametrize("requeue_signal", [None, signal.SIGUSR2])
def test_slurm_s_signal_requeues_the_job_and_saves_nothing_new(
    tmp_path: Path, scontrol: Path, requeue_signal: signal.Signals | None
) -> None:
    number = requeue_signal or signal.SIGUSR1
    plugin = SLURMEnvironment(requeue_signal=requeue_signal)
    before = signal.getsignal(number)
    with pytest.raises(RunStopped) as caught:
        train(tmp_path, SignalAt(number, 2, 1), plugins=(plugin,))
    assert caught.value.signum == number
    assert signal.getsignal(number) == before
    assert scontrol.read_text() == "requeue 77\n"
    assert read_checkpoint_epoch(tmp_path) == 1
    assert not list(tmp_path.rglob("hpc_ckpt*"))


def test_a_task_of_a_job_array_is_requeued_alone(
    tmp_path: Path, scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "75")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.raises(RunStopped):
        train(tmp_path, SignalAt(signal.SIGUSR1, 1, 0), plugins=(SLURMEnvironment(),))
    assert scontrol.read_text() == "requeue 75_2\n"


def test_sigterm_on_slurm_stops_without_requeueing(tmp_path: Path, scontrol: Path) -> None:
    with pytest.raises(RunStopped) as caught:
        train(tmp_path, SignalAt(signal.SIGTERM, 1, 0), plugins=(SLURMEnvironment(),))
    assert caught.value.code == 143
    assert not scontrol.exists()


def test_requeueing_may_be_switched_off(tmp_path: Path, scontrol: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        plugin = SLURMEnvironment(auto_requeue=False)
        train(tmp_path, SignalAt(signal.SIGUSR1, 1, 0), plugins=(plugin,))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
    assert not scontrol.exists()


def test_ranks_are_not_asked_for_a_signal_before_each_step(tmp_path: Path) -> None:
    """Lightning asks, which waits for the device; it is our handler that hears signals."""
    assert hasattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor")
    data = make_data()
    method = make_method(data)
    stop = StopOnSignal(RankWatch(""))
    trainer = fit(method, data, callbacks=[stop])
    assert "_broadcast_sigterm_tensor" in vars(trainer.fit_loop.epoch_loop)
