"""Learning image classifiers from wrong labels, in PyTorch Lightning."""

from typing import Any

__version__ = "0.1.0"


def load(run: Any, device: Any = "cpu") -> Any:
    """The networks that a run has trained, to predict images with: see `pmnar.tasks.load`."""
    from pmnar.tasks.load import load

    return load(run, device)
