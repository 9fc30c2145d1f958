"""Label noise: given labels as a pure function of (true labels, a spec, a seed)."""

from pmnar.noise.base import CleanLabels, Noise
from pmnar.noise.class_conditional import (
    Asymmetric,
    Clean,
    PairFlip,
    Symmetric,
    flip,
    symmetric,
)
from pmnar.noise.file import FromFile, OfRun
from pmnar.noise.human import Human
from pmnar.noise.inject import inject
from pmnar.noise.instance import InstanceDependent, instance_dependent
from pmnar.noise.labels import NoisyLabels
from pmnar.noise.maps import class_map
from pmnar.noise.matrix import Matrix, sample_transitions

__all__ = [
    "Asymmetric",
    "Clean",
    "CleanLabels",
    "FromFile",
    "Human",
    "InstanceDependent",
    "Matrix",
    "Noise",
    "NoisyLabels",
    "OfRun",
    "PairFlip",
    "Symmetric",
    "class_map",
    "flip",
    "inject",
    "instance_dependent",
    "sample_transitions",
    "symmetric",
]
