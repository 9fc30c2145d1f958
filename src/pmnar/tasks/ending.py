"""How a run ends early: what is said, and which error it becomes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.multiprocessing.spawn import ProcessException

from pmnar.errors import TOLD, InputError, NonFiniteLossError, RankLostError, WriteError
from pmnar.runtime.checkpoint import finished_epochs, read_checkpoint
from pmnar.runtime.run_folder import CHECKPOINT, is_first_process
from pmnar.runtime.stop import RunStopped, StopOnSignal
from pmnar.runtime.typed import command
from pmnar.runtime.watch import STARTED_BY, RankWatch, how_it_ended
from pmnar.tasks.console import say


class Ending:
    """Turns every early end of a run into one that says how to go on.

    Args:
        folder: the run folder.
        epochs: how many the run was to have.

    Attributes:
        callbacks: what the trainer needs for it.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.epochs = folder, epochs
        # A further rank does not know the folder, and rank 0 says it.
        self.advice = f"go on with: {command('train', resume=folder)}" if is_first_process() else ""
        self.watch = RankWatch(self.advice)
        self.stop = StopOnSignal(self.watch)
        self.callbacks: list[Callback] = [self.watch, self.stop]

    @contextmanager
    def handling(self, trainer: L.Trainer) -> Iterator[None]:
        """Around `fit`.

        Raises:
            RunStopped: a signal came.
            RankLostError: of several ranks one was killed.
            WriteError: the disk is full, or a folder cannot be written to.
            Exception: any other error, with a note of how to go on.
        """
        if is_first_process():
            os.environ[STARTED_BY] = str(os.getpid())
        try:
            with self.stop.listening(trainer):
                yield
        except RunStopped as stopped:
            self._say_stopped(stopped)
            raise
        except ProcessException as error:
            raise self._of_spawned_rank(error, trainer) from None
        except (InputError, NonFiniteLossError):
            raise
        except WriteError as error:
            raise WriteError(f"{error}; {self.advice}") from error
        except Exception as error:
            self.watch.settle()
            if self.advice:
                error.add_note(self.advice)
            raise

    def _say_stopped(self, stopped: RunStopped) -> None:
        if not is_first_process():
            return
        path = self.folder / CHECKPOINT
        done = finished_epochs(read_checkpoint(path)) if path.is_file() else 0
        signal = Signals(stopped.signum).name
        say(f"stopped by {signal} after epoch {done} of {self.epochs}; {self.advice}")

    def _of_spawned_rank(self, error: ProcessException, trainer: L.Trainer) -> Exception:
        """The error that a rank had, as if it had been a rank of this process."""
        name, _, message = str(error).strip().splitlines()[-1].partition(": ")
        for kind in TOLD:
            if name == f"{kind.__module__}.{kind.__name__}":
                wants_advice = kind is WriteError
                return kind(f"{message}; {self.advice}" if wants_advice else message)
        launcher: Any = trainer.strategy.launcher
        for rank, process in enumerate(launcher.procs):
            # What is left is ended with SIGTERM, which is not the cause.
            if process.exitcode < 0 and process.exitcode != -SIGTERM:
                return RankLostError(f"rank {rank} {how_it_ended(process.exitcode)}; {self.advice}")
        error.add_note(self.advice)
        return error
