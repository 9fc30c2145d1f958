"""Noise put on labels: the one call that a run makes."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

from pmnar.noise.base import CleanLabels, IntArray, Noise
from pmnar.noise.class_conditional import Clean
from pmnar.noise.draws import check_seed
from pmnar.noise.file import FromFile
from pmnar.noise.labels import NoisyLabels


def inject(noise: Noise, clean: CleanLabels, seed: int, truth_known: bool = True) -> NoisyLabels:
    """The labels that training gets to see, and all that is known about them.

    Args:
        noise: what to put on the labels.
        clean: the labels and what else a noise may look at. Without noise, what is given is what
            they came with.
        seed: in [0, 2^64); the result is the same for the same seed, everywhere.
        truth_known: False where `clean.labels` come from an untrusted source. Without noise no
            true label is known then; any noise put on them makes them the truth, by the user's
            choice; labels from a file keep what the file knows.

    Raises:
        InputError: a seed out of range, or what the noise raises.
    """
    check_seed(seed)
    true: IntArray | None = clean.labels.copy()
    came_with: IntArray | None = None
    if isinstance(noise, FromFile):
        stored = noise.read(clean)
        given, true = stored.given, true if truth_known else stored.true
    else:
        came_with = clean.given if isinstance(noise, Clean) else None
        given = noise(clean, seed) if came_with is None else came_with.copy()
        if not truth_known and isinstance(noise, Clean):
            true = None
    return NoisyLabels(
        given=given,
        true=true,
        index=clean.index.copy(),
        num_classes=clean.num_classes,
        dataset=clean.dataset,
        name=noise.name,
        nominal_rate=noise.nominal_rate if came_with is None else None,
        seed=int(seed),
        spec=_spec(noise),
        fingerprint=clean.fingerprint,
    )


def _spec(noise: Noise) -> str:
    """The noise's class and fields as JSON."""
    spec: dict[str, object] = {"noise": type(noise).__name__}
    if is_dataclass(noise):
        spec |= {field.name: getattr(noise, field.name) for field in fields(noise)}
    return json.dumps(spec, default=_plain)


def _plain(value: object) -> object:
    """What JSON can hold of a field that it cannot."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return np.asarray(value).tolist()
