"""MentorNet, data-driven: a step as a plain loop, what the mentor is taught, and from whom."""

from typing import Any

import pytest
import torch
from every import a_step, build
from torch.nn.functional import binary_cross_entropy
from toy import make_data

from pmnar.data import Batch, Share
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods import MentorNetDD
from pmnar.methods.terms import total


def made(**settings: Any) -> tuple[MentorNetDD, Batch]:
    method, batch = a_step("mentornet_dd", **settings)
    assert isinstance(method, MentorNetDD)
    method.mentor.double()
    return method, batch


def test_it_knows_what_labels_the_clean_samples_were_given() -> None:
    whole, data = make_data(), make_data(clean=13)
    method = build("mentornet_dd", data)
    assert isinstance(method, MentorNetDD)
    assert data.labels.held_out is not None
    held = data.labels.held_out
    assert method.given_of_clean.tolist() == held.given.tolist()
    assert held.given.tolist() == whole.labels.given[held.index].tolist()
    assert (method.given_of_clean != data.splits["clean"].labels).any()
    assert "given_of_clean" not in method.state_dict()
    # 13 beside 47 in batches of 20.
    assert method.streams(1)["clean"].batch_size == 6


@pytest.mark.parametrize("done", [0.0, 2.0])
def test_a_step_is_a_plain_loop_s(done: float) -> None:
    """In the burn-in, and beyond it."""
    method, batch = made(dropout=0.3)
    method.epochs_done = done
    clean, before = batch.parts["clean"], method.mentor.parameters_now.clone()
    assert batch.share is not None
    found = total(method.losses(batch)["first"], batch.share)

    given = method.given_of_clean[clean.indices]
    images = torch.cat([batch.views[0], clean.views[0]])
    each = cross_entropy(method.networks["first"](images), torch.cat([batch.labels, given]))
    size = len(batch.labels)
    threshold = 0.5 * each[:size].detach().float().quantile(0.7)
    torch.testing.assert_close(method.threshold, threshold)

    def trust(loss: torch.Tensor) -> torch.Tensor:
        told = torch.stack([loss, loss - threshold.double()])[None].detach()
        return method.mentor.of(told)[0].sigmoid()

    sum_of_all = torch.zeros((), dtype=torch.float64)
    for part, at in ((batch, 0), (clean, size)):
        share = part.share
        assert share is not None
        order = torch.randperm(share.size, generator=share.generator("dropout of samples"))
        rate = 0.5 if done == 0 else 0.3
        for row in order[: int(share.size * (1 - rate))].tolist():
            weight = 1.0 if done == 0 else trust(each[at + row])
            sum_of_all = sum_of_all + weight * each[at + row]
    torch.testing.assert_close(found, sum_of_all / size)

    taught, method.mentor.parameters_now = method.mentor.parameters_now, before
    own = before.clone().requires_grad_()
    adam = torch.optim.Adam([own], lr=0.01)
    losses = each[size:].detach()
    told = torch.stack([losses, losses - threshold.double()], -1)
    right = (given == clean.labels).double()
    p = method.mentor.of(told, own).sigmoid()
    torch.autograd.backward(binary_cross_entropy(p, right))
    adam.step()
    torch.testing.assert_close(taught, own.detach(), rtol=1e-6, atol=1e-9)


def test_the_mentor_comes_to_tell_right_labels_by_their_losses() -> None:
    method, _ = made(mentor_rate=0.05)
    method.threshold.fill_(1.0)
    losses = torch.linspace(0, 4, 40, dtype=torch.float64)
    for _ in range(300):
        method.teach(losses, losses < 1.5, Share(0, 40))
    trust = method.trust(losses)
    assert (trust[losses < 1] > 0.8).all()
    assert (trust[losses > 2] < 0.2).all()


def test_most_of_a_batch_is_left_out_in_the_end() -> None:
    method, _ = made(curriculum_epochs=100)
    kept = []
    for epoch in (0, 16, 17, 94, 95, 200):
        method.epochs_done = epoch
        kept.append(int(method.kept(Share(0, 45), torch.device("cpu")).sum()))
    assert kept == [22, 22, 42, 42, 4, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for MentorNet, got 2"),
        ({"clean_batch_size": 1}, "method.clean_batch_size must be at least 2, or null, got 1"),
        ({"last_dropout": 1.0}, r"method.last_dropout must be in \[0, 1\), got 1.0"),
        ({"last_dropout_from": 2.0}, r"method.last_dropout_from must be in \[0, 1\], got 2.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**settings)
