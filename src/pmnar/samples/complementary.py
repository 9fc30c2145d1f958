"""The complementary-label store: which classes each sample is still trained not to be."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PACKED_ENOUGH = 16
"""Sets that fit into this many bytes a sample are packed from the start."""

PLACES = 4
"""Places that each sample is given at a time, the first of them for its given label."""

BLOCK = 2**22
"""Places worked on at a time: it bounds the memory of what is not the store itself."""


class ComplementaryLabels(nn.Module):
    """The store S of PMNAR: N sets of up to K − 1 classes, in the smaller of two forms.

    A set begins with every class but the given label and only ever shrinks (PMNAR, Algorithm 1),
    by a class or two an epoch. So with many classes it is what a set lacks that is few:

    - `slots`, `[N, W]` of the smallest integer type that holds K − 1 (uint8, int16, int32): the
      given label, then the classes discarded, then fillers, which are the given label again. W
      grows by `PLACES` when a sample has no place left.
    - `bits`, uint8 `[N, ceil(K / 8)]`, eight classes to a byte: for good, once slots would be no
      smaller; from the start where that is at most `PACKED_ENOUGH` bytes.

    Beyond those, a sample takes at most `min(ceil(K / 8), b·(d + PLACES))` bytes, b being the size
    of the slots' type and d the most classes that any one sample has lost; while the store grows,
    its old form is there beside the new. It is a buffer of the name of its form, so it travels
    with the module's checkpoint and device.

    Args:
        labels: the given labels, int64 `[N]`.
        num_classes: K.
    """

    bits: Tensor  # None while there are slots
    slots: Tensor | None

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        self.size, self.num_classes = len(labels), num_classes
        self.register_buffer("bits", None)
        self.register_buffer("slots", None)
        self.packed_width = (num_classes + 7) // 8
        self.slot_type = _smallest_type(num_classes - 1)
        if self.packed_width > PACKED_ENOUGH:
            self.slots = labels[:, None].to(self.slot_type).repeat(1, PLACES)
        else:
            self.bits = self._every_class(labels.device)
            self.discard(torch.arange(self.size, device=labels.device), labels)

    @torch.no_grad()
    def discard(self, index: Tensor, classes: Tensor) -> None:
        """Take one class out of each named sample's set; a class already out changes nothing.

        Waits for the device where there are slots: once an epoch, not once a step.

        Args:
            index: samples, int64 `[M]`, each at most once.
            classes: one class for each, int64 `[M]`.
        """
        rows = self._rows_at_a_time()
        for samples, gone in zip(torch.split(index, rows), torch.split(classes, rows), strict=True):
            if self.slots is not None:
                self._fill_slots(self.slots, samples, gone)
            else:
                self._clear_bits(samples, gone)

    def mask(self, index: Tensor) -> Tensor:
        """The sets of the samples `index` `[B]` as bool `[B, K]`."""
        if self.slots is not None:
            lost = self.slots[index].long()
            mask = torch.ones(len(lost), self.num_classes, dtype=torch.bool, device=lost.device)
            return mask.scatter_(1, lost, False)
        bits = (self.bits[index].unsqueeze(-1) >> _shifts(self.bits)) & 1
        return bits.flatten(1)[:, : self.num_classes].bool()

    def mean_size(self) -> float:
        """How many complementary labels a sample has left on average, in [0, K − 1]."""
        rows = self._rows_at_a_time()
        if self.slots is not None:
            lost = [(part != part[:, :1]).sum() for part in torch.split(self.slots, rows)]
            left = self.size * (self.num_classes - 1) - int(torch.stack(lost).sum())
        else:
            every_byte = torch.arange(256, dtype=torch.uint8, device=self.bits.device)
            ones_in_byte = ((every_byte.unsqueeze(-1) >> _shifts(self.bits)) & 1).sum(-1)
            counts = torch.zeros_like(ones_in_byte)
            for part in torch.split(self.bits, rows):
                counts += torch.bincount(part.flatten(), minlength=256)
            left = int((counts * ones_in_byte).sum())
        return left / max(self.size, 1)

    # -- the two forms ----------------------------------------------------------------------------

    def _fill_slots(self, slots: Tensor, samples: Tensor, gone: Tensor) -> None:
        held = slots[samples]
        given, gone_here = held[:, 0], gone.to(slots.dtype)
        known = (held == gone_here[:, None]).any(1)
        first_free = (held != given[:, None]).sum(1) + 1
        # What is known is not written: the given label is, where it already stands.
        place = torch.where(known, 0, first_free)
        if bool((place == slots.shape[1]).any()):
            self._widen(slots)
        if self.slots is None:
            self._clear_bits(samples, gone)
        else:
            slots[samples, place] = torch.where(known, given, gone_here)

    def _clear_bits(self, samples: Tensor, gone: Tensor) -> None:
        byte = gone // 8
        keep = ~(torch.ones_like(gone) << gone % 8).to(torch.uint8)
        self.bits[samples, byte] = self.bits[samples, byte] & keep

    def _widen(self, slots: Tensor) -> None:
        """Give every sample more places, or pack the store where that would be no larger."""
        width = slots.shape[1] + PLACES
        if width * slots.itemsize >= self.packed_width:
            self._pack(slots)
        else:
            fillers = slots[:, :1].expand(-1, PLACES)
            # In place: DistributedDataParallel keeps the buffers that it first met.
            slots.data = torch.cat([slots, fillers], 1)

    def _pack(self, slots: Tensor) -> None:
        self.slots, self.bits = None, self._every_class(slots.device)
        rows = max(BLOCK // slots.shape[1], 1)
        for start, part in zip(range(0, self.size, rows), torch.split(slots, rows), strict=True):
            samples = torch.arange(start, start + len(part), device=slots.device)
            for classes in part.unbind(1):
                self._clear_bits(samples, classes.long())
        slots.data = slots.new_empty(0)  # whoever still keeps the buffer keeps no memory

    def _every_class(self, device: torch.device) -> Tensor:
        row = torch.full((self.packed_width,), 255, dtype=torch.uint8, device=device)
        if self.num_classes % 8:
            row[-1] = (1 << self.num_classes % 8) - 1
        return row.repeat(self.size, 1)

    def _rows_at_a_time(self) -> int:
        width = self.packed_width if self.slots is None else self.slots.shape[1]
        return max(BLOCK // max(width, PLACES), 1)

    # -- checkpoints ------------------------------------------------------------------------------

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **settings: Any
    ) -> None:
        """Take on the form and the width of a saved store, then its values."""
        device = (self.bits if self.slots is None else self.slots).device
        if f"{prefix}slots" in state_dict:
            width = state_dict[f"{prefix}slots"].shape[-1]
            empty = torch.empty((self.size, width), dtype=self.slot_type, device=device)
            self.slots, self.bits = empty, None  # type: ignore[assignment]
        elif f"{prefix}bits" in state_dict and self.slots is not None:
            self.slots, self.bits = None, self._every_class(device)
        super()._load_from_state_dict(state_dict, prefix, *args, **settings)


def _smallest_type(largest: int) -> torch.dtype:
    for dtype in (torch.uint8, torch.int16):
        if largest <= torch.iinfo(dtype).max:
            return dtype
    return torch.int32


def _shifts(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)
