"""Ranks end together: when one stops, fails or dies, the others do not wait for it forever."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing import util
from signal import Signals
from subprocess import Popen
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

PERIOD = 0.5
"""Seconds between two looks."""
PATIENCE = 45.0
"""Seconds without a sign of life after which a rank is taken for dead."""
STARTED_BY = "PMNAR_STARTED_BY"
"""Set by the process that starts further ranks to its own id, for them to know it by."""
GRACE = 2.0
"""Seconds in which a rank that was told of another's end may come to its own."""


class RankWatch(Callback):
    """A thread in each rank that ends the process once another rank has ended early.

    A collective whose partner is gone waits for minutes (NCCL) or raises what says nothing of the
    cause (gloo). The ranks therefore tell each other that they live, and that they leave, through
    a store of their own. Leaving is abrupt, which is safe: files are written whole or not at all.

    Args:
        advice: printed with what happened, such as how to go on.
    """

    def __init__(self, advice: str = "") -> None:
        self.advice = advice
        self.member: Member | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Join the watch, where there are several ranks."""
        if trainer.world_size == 1 or self.member is not None:
            return
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        store = _store(host, 0) if trainer.is_global_zero else None
        address = (host, store.port if store is not None else 0)
        address = trainer.strategy.broadcast(address)
        self.member = Member(trainer, store or _store(*address), self.advice)
        self.member.beat()
        trainer.strategy.barrier("watch")
        self.member.start()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the watch, all ranks together, after a run that came to its end."""
        if self.member is not None:
            trainer.strategy.barrier("watched")
            self.member.leave()
            self.member = None

    def settle(self) -> None:
        """After an error that another rank may have caused: let the watch find the cause first."""
        if self.member is not None:
            time.sleep(GRACE)


class Member(threading.Thread):
    """One rank's part in the watch."""

    def __init__(self, trainer: L.Trainer, store: dist.TCPStore, advice: str) -> None:
        super().__init__(daemon=True, name="rank-watch")
        self.rank, self.world, self.store = trainer.global_rank, trainer.world_size, store
        self.advice = advice
        self.children, self.parent = _family(trainer)
        self.asked_to_stop: int | None = None
        self.finished = threading.Event()
        self._beats, self._looked = 0, time.monotonic()
        self._heard: dict[int, tuple[bytes, float]] = {}
        # Spawned ranks leave through multiprocessing, others through the interpreter.
        atexit.register(self.end)
        self._at_exit = util.Finalize(None, self.end, exitpriority=100)

    def beat(self) -> None:
        """Give a sign of life."""
        self._beats += 1
        self.store.set(f"beat {self.rank}", str(self._beats))

    def ask_to_stop(self, signum: int) -> None:
        """Let rank 0 know of a signal that came to this rank."""
        with suppress(Exception):  # without a store the ranks are ending anyway
            self.store.set("signal", str(int(signum)))

    def end(self) -> None:
        """Tell the other ranks that this one ends early, and wait until they have heard it."""
        if self.finished.is_set():
            return
        self.finished.set()
        with suppress(Exception):
            if self.store.compare_set("end", "", str(self.rank)) != str(self.rank).encode():
                return
            until = time.monotonic() + (GRACE if self.rank == 0 else 2 * GRACE)
            while self.store.add("heard", 0) < self.world - 1 and time.monotonic() < until:
                time.sleep(PERIOD / 10)

    def leave(self) -> None:
        """The run has come to its end: nothing is to be told any more."""
        self.finished.set()
        atexit.unregister(self.end)
        self._at_exit.cancel()

    def run(self) -> None:
        """Look around until the run is over."""
        while not self.finished.wait(PERIOD):
            try:
                reason = self._reason_to_leave()
            except Exception:  # the store lives in rank 0, which may just have finished
                self.finished.wait(GRACE)
                reason = "rank 0 is gone"
            if reason is not None and not self.finished.is_set():
                self._leave(reason)

    def _reason_to_leave(self) -> str | None:
        if self.parent is not None and os.getppid() != self.parent:
            return ""
        for rank, child in enumerate(self.children, start=1):
            if child.poll():
                return f"rank {rank} {how_it_ended(child.returncode)}"
        self.beat()
        if self.store.check(["end"]):
            return self._other_end(int(self.store.get("end")))
        if self.rank == 0 and self.store.check(["signal"]):
            self.asked_to_stop = int(self.store.get("signal"))
        return self._silence(range(1, self.world) if self.rank == 0 else range(1))

    def _other_end(self, rank: int) -> str:
        if self.rank == 0:
            # Time for this rank's own error, while the other one still waits to be heard.
            self.finished.wait(GRACE)
        tells = self.rank == 0 and self.parent is None  # what spawned the ranks tells it itself
        return f"rank {rank} failed; its error is above" if tells else ""

    def _silence(self, ranks: Sequence[int]) -> str | None:
        now = time.monotonic()
        if now - self._looked > 10 * PERIOD:  # this process itself was held up
            self._heard = {}
        self._looked = now
        beats = self.store.multi_get([f"beat {rank}" for rank in ranks])
        for rank, beat in zip(ranks, beats, strict=True):
            known, since = self._heard.get(rank, (b"", now))
            if beat != known:
                self._heard[rank] = (beat, now)
            elif now - since > PATIENCE:
                return f"rank {rank} has given no sign of life for {PATIENCE:.0f} s"
        return None

    def _leave(self, reason: str) -> None:
        if reason:
            whose = "" if self.rank == 0 else f"rank {self.rank}: "
            text = "; ".join(part for part in (f"error: {whose}{reason}", self.advice) if part)
            print(text, file=sys.stderr)
        with suppress(Exception):  # rank 0 may be gone
            self.store.add("heard", 1)
        sys.stdout.flush()
        sys.stderr.flush()
        # A rank that ends at another's wish has not failed: its launcher would kill the first.
        os._exit(1 if reason else 0)


def how_it_ended(exit_code: int) -> str:
    """What a process's exit code says of its end."""
    if exit_code < 0:
        return f"was killed by {Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _store(host: str, port: int) -> dist.TCPStore:
    """The store at this address; with port 0 a new one, served by this process."""
    return dist.TCPStore(
        host,
        port,
        is_master=port == 0,
        wait_for_workers=False,
        timeout=timedelta(seconds=PATIENCE),
    )


def _family(trainer: L.Trainer) -> tuple[list[Popen[Any]], int | None]:
    """The ranks that this one started, and the process that started it as a rank, if any."""
    strategy: Any = trainer.strategy
    children = [p for p in getattr(strategy.launcher, "procs", []) if isinstance(p, Popen)]
    parent = os.getppid()
    is_spawned = strategy._start_method != "popen"
    is_child = is_spawned or os.environ.get(STARTED_BY) == str(parent)
    return children, parent if is_child else None
