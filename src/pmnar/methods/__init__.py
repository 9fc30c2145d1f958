"""Methods: one LightningModule a file, over a base class that holds what all share."""

from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.co_teaching import CoTeaching
from pmnar.methods.pmnar import PMNAR
from pmnar.methods.setting import Setting

__all__ = ["PMNAR", "CoTeaching", "NoisyLabelMethod", "Setting"]
