"""Stopping between two steps when a signal asks for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback

from pmnar.runtime.watch import RankWatch

ECHO = 1.0
"""Seconds in which a further signal is taken for the first one's echo, later for impatience."""


class RunStopped(SystemExit):
    """A signal stopped the run; `code`, the exit code, is 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class StopOnSignal(Callback):
    """Ends the run at the next step boundary after SIGTERM, SIGINT or SLURM's requeue signal.

    Nothing is saved then: the checkpoint of the last finished epoch is on disk already, whole. A
    second signal ends the process at once, which harms nothing either. On SLURM the requeue signal
    also puts the job back into the queue, as Lightning's plugin does, whose own handler would save
    in the middle of a step: that could not be gone on from exactly.

    Of several ranks rank 0 decides; `watch` tells it of a signal that came to another rank, and
    the others of its end.
    """

    def __init__(self, watch: RankWatch) -> None:
        self.watch = watch
        self.signum: int | None = None
        self._since = 0.0
        self._requeue_signal: int | None = None
        self._launcher: Any = None
        self._before: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For a rank that is spawned: what is this process's own stays here."""
        return self.__dict__ | {"_launcher": None, "_before": {}}

    @contextmanager
    def listening(self, trainer: L.Trainer) -> Iterator[None]:
        """Around `fit`, in the process that calls it, which may not be a rank itself.

        Raises:
            RunStopped: however `fit` ended, where a signal had come.
        """
        self._launcher = trainer.strategy.launcher
        # A rank that waits for others to start ends at once: it has nothing to finish yet.
        if trainer.world_size == 1 or getattr(trainer.strategy, "_start_method", "") != "popen":
            self._install()
        try:
            yield
        except BaseException as error:
            signum = self.signum or _signal_of(getattr(error, "exit_code", 0))
            if signum is None or isinstance(error, RunStopped):
                raise
            raise RunStopped(signum) from error
        else:
            # It came after the last step: what would follow this run is not begun.
            if self.signum is not None and trainer.is_global_zero:
                raise RunStopped(self.signum)
        finally:
            for number, handler in self._before.items():
                _handle(number, handler)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Listen in a rank that was spawned, too."""
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            self._requeue_signal = environment.requeue_signal
        self._install()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the place of Lightning's handlers, which it has set up by now."""
        self._install()
        # Of several ranks Lightning asks before each step whether its own handler heard a signal,
        # which waits for the device. That handler is gone.
        loop: Any = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = _nothing

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop here, where it was asked for."""
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop here, where it was asked for."""
        self._stop_if_asked(trainer)

    def on_ordered_batch_end(self, trainer: L.Trainer) -> None:
        """Stop here, where it was asked for: the epoch that has just been trained is not kept."""
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        member = self.watch.member
        if member is not None and trainer.global_rank > 0:
            if self.signum is not None:
                member.ask_to_stop(self.signum)
            return
        if member is not None and self.signum is None:
            self.signum = member.asked_to_stop
        if self.signum is not None:
            if self.signum == self._requeue_signal:
                requeue()
            raise RunStopped(self.signum)

    def _install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, self._requeue_signal):
            if number is not None:
                self._before.setdefault(number, signal.getsignal(number))
                _handle(number, self._hear)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum is not None and now - self._since > ECHO:
            os._exit(128 + signum)
        if self.signum is None:
            self.signum, self._since = signum, now
        # Ranks that are commands of their own are told by rank 0, spawned ones by this process.
        for process in getattr(self._launcher, "procs", []):
            if isinstance(process, BaseProcess) and process.pid is not None:
                os.kill(process.pid, signum)


def _nothing() -> None:
    pass


def requeue() -> None:
    """Put this SLURM job back into the queue; it starts again under the same id."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"error: job {job} could not be requeued: {error}", file=sys.stderr)


def _signal_of(exit_code: int) -> int | None:
    """The signal that a rank's exit code tells of, if any."""
    return exit_code - 128 if exit_code - 128 in signal.valid_signals() else None


def _handle(signum: int, handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        signal.signal(signum, handler)
