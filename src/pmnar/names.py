"""Names that several layers know, apart from what is slow to load."""

HELD_OUT = "noisy_validation"
"""The evaluation split that is held out of the training set, under its given labels."""
