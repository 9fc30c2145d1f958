"""Forward and backward of a batch, in the way that suits the device."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pmnar.data.batches import Batch
from pmnar.errors import InputError

if TYPE_CHECKING:
    from pmnar.methods.base import NoisyLabelMethod

Terms = dict[str, Tensor]
"""The terms of a loss by name, each `[B]`."""
Losses = Callable[[tuple[Tensor, ...], Tensor, Mapping[str, Tensor]], dict[str, Terms]]

COMPILE = ("auto", "off", "default", "reduce-overhead", "max-autotune")
FASTEST = {"cuda": "off"}
"""What `compile=auto` is on a kind of device: the fastest that `benchmarks/gpu.py` found there. It
has not run on CUDA yet, so nothing is compiled unless asked for."""
HAVE_GRAPHS = ("reduce-overhead", "max-autotune")


def check_compute(compile: str, channels_last: bool | str) -> None:
    """Raise `InputError` unless both settings are known."""
    # YAML reads an unquoted off as false.
    if compile not in COMPILE:
        raise InputError(f"compile must be one of {', '.join(COMPILE)}, got {compile}")
    if channels_last not in ("auto", True, False):
        raise InputError(f"channels_last must be auto, true or false, got {channels_last}")


class Step:
    """A training step's forward and backward, up to the gradients.

    - Full batches go through the compiled loss, where there is one; a last batch of fewer samples
      goes through the same function as it is, so that shapes stay static.
    - Where `Networks.two_threads`, two networks whose losses are apart take a thread each. All
      operations are the same, and so is the result, to the bit. Networks that draw numbers
      (dropout) in the first step take turns: they share PyTorch's generator, Python's or NumPy's.
      In threads, Lightning's hooks around backward are not called.

    Args:
        method: the method, on its device.
        mode: of the compilation, one of `COMPILE`.
    """

    def __init__(self, method: NoisyLabelMethod, mode: str = "off") -> None:
        self.method = method
        self.mode = FASTEST.get(method.device_type, "off") if mode == "auto" else mode
        self._compiled: Losses | None = None
        self._full = 0
        self._draws: bool | None = None
        if self.mode != "off":
            torch._dynamo.reset()  # of several runs in a process each may compile

    def __call__(self, batch: Batch) -> Terms:
        """Add this batch's gradients to the parameters'.

        Returns:
            The terms of the loss, summed over networks where they have the same name.

        Raises:
            InputError: it cannot be compiled.
        """
        if self.mode == "off":
            return self._gradients(batch)
        try:
            return self._gradients(batch)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"compile={self.mode} failed: {reason}; set compile=off") from error

    def _gradients(self, batch: Batch) -> Terms:
        share, method = batch.share, self.method
        assert share is not None
        per_sample = method.per_sample(batch)
        apart = self.in_threads
        if self.mode == "off":
            logits = self._logits(batch.views, apart)
            terms = method.sample_losses(logits, batch.label, per_sample)
        else:
            terms = self._fast(batch, per_sample)
        # DDP averages gradients over ranks: so scaled, that is the global batch's mean.
        scale = share.world / share.size
        totals = {n: torch.stack(list(t.values())).sum() * scale for n, t in terms.items()}
        if apart and method.networks.two_threads:
            method.networks.each(lambda name: torch.autograd.backward(totals[name]), apart)
        else:
            method.manual_backward(torch.stack(list(totals.values())).sum())
        with torch.no_grad():
            return by_name(terms)

    @property
    def in_threads(self) -> bool:
        """Whether networks may take a thread each."""
        return self.mode == "off" and self._draws is False and self.method.losses_are_apart

    def _logits(self, views: tuple[Tensor, ...], in_threads: bool) -> dict[str, tuple[Tensor, ...]]:
        if self._draws is not None:
            return self.method.networks.logits(views, in_threads)
        before = _generators()
        logits = self.method.networks.logits(views)
        self._draws = _generators() != before
        return logits

    def _fast(self, batch: Batch, per_sample: Mapping[str, Tensor]) -> dict[str, Terms]:
        """The compiled loss of a full batch; the first batch is one."""
        losses: Losses = self.method.losses
        self._full = self._full or len(batch.indices)
        if len(batch.indices) != self._full:
            return losses(batch.views, batch.label, per_sample)
        if self._compiled is None:
            self._compiled = torch.compile(losses, mode=self.mode, dynamic=False)
        if self.mode in HAVE_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._compiled(batch.views, batch.label, per_sample)


def _generators() -> tuple[object, ...]:
    """The states of the generators that a network on a CPU may draw from."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    torch_state = torch.get_rng_state().numpy().tobytes()
    return torch_state, random.getstate(), name, np.asarray(keys).tobytes(), *rest


def by_name(terms: Mapping[str, Terms]) -> Terms:
    """The terms of all networks, summed where they have the same name."""
    found: Terms = {}
    for of_network in terms.values():
        for name, values in of_network.items():
            found[name] = found[name] + values if name in found else values
    return found
