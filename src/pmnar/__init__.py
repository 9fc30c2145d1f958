"""Learning image classifiers from wrong labels, in PyTorch Lightning."""

__version__ = "0.1.0"
