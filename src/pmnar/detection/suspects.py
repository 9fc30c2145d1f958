"""Which samples to look at.

Two things are told apart:

- *called wrong*: the confidence in the given label is below the threshold. Precision, recall, F1,
  AUROC, the estimated noise rate and the threshold curve are of this, as PMNAR reports them: the
  reading under which its Table 4 has precision × predicted = recall × actual.
- *suspect*, the column `mislabelled`: called wrong, and another class is suggested. Where the given
  label is called wrong and yet the likeliest class of all, the network is *unsure* of all classes:
  no class reaches the threshold, and there is nothing to put in the label's place.

So each sample called wrong is either a suspect or unsure, never both.
"""

from dataclasses import dataclass

from torch import Tensor

from pmnar.detection.metrics import is_called


@dataclass(frozen=True)
class Suspects:
    """The samples called wrong, in two parts.

    Attributes:
        mislabelled: another class is suggested, bool `[N]`.
        unsure: no other class is, bool `[N]`.
    """

    mislabelled: Tensor
    unsure: Tensor

    @property
    def counts(self) -> dict[str, int]:
        """`suspects` and `unsure`."""
        return {"suspects": int(self.mislabelled.sum()), "unsure": int(self.unsure.sum())}


def find_suspects(
    confidence: Tensor, given: Tensor, suggested: Tensor, threshold: float = 0.5
) -> Suspects:
    """Part the samples called wrong by whether another class is suggested.

    Args:
        confidence: probability of the given label, `[N]` in [0, 1].
        given: given labels, int64 `[N]`.
        suggested: the network's prediction, int64 `[N]`.
        threshold: a confidence below it calls a sample wrong, in [0, 1].

    Raises:
        InputError: the threshold is outside [0, 1].
    """
    called, differs = is_called(confidence, threshold), suggested != given
    return Suspects(called & differs, called & ~differs)
