"""Forward and backward correction: identities, the matrix, and stages as a plain loop."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every import build
from torch import Tensor
from toy import FewDigits, TinyNet, fit, make_data, train_batches

from pmnar.callbacks.tables import RunTables, matrix_text
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, explained, soft_cross_entropy
from pmnar.methods import LossCorrection
from pmnar.noise.class_conditional import Clean
from pmnar.noise.matrix import read_matrix
from pmnar.samples.transition import (
    from_anchors,
    is_invertible,
    share_to_invert,
    with_identity,
)

DOUBLE = partial(TinyNet, dtype=torch.float64)
BOTH = ("forward", "backward")


def a_matrix(size: int = 10, seed: int = 0) -> Tensor:
    """Of sum 1 by row, with most on the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(size, size, generator=generator, dtype=torch.float64)
    return with_identity(drawn / drawn.sum(-1, keepdim=True), 0.5)


def made(correction: str = "forward", **settings: Any) -> LossCorrection:
    settings = {"correction": correction, **settings}
    method = build("f_correction", make_data(), DOUBLE, **settings)
    assert isinstance(method, LossCorrection)
    return method


# -- losses ---------------------------------------------------------------------------------------


def test_without_noise_both_are_cross_entropy() -> None:
    z = torch.randn(30, 6, dtype=torch.float64)
    labels, identity = torch.arange(30) % 6, torch.eye(6, dtype=torch.float64)
    expected = cross_entropy(z, labels)
    torch.testing.assert_close(explained(z, identity[labels]), expected)
    torch.testing.assert_close(soft_cross_entropy(z, identity[labels]), expected)


def test_backward_s_mean_over_the_noise_is_the_true_label_s_loss() -> None:
    """Theorem 1 of the paper: `Σ_j T_ij ℓ←(p, j) = ℓ(p, i)`."""
    matrix, z = a_matrix(6), torch.randn(1, 6, dtype=torch.float64)
    corrected = torch.stack(
        [soft_cross_entropy(z, row[None])[0] for row in torch.linalg.inv(matrix)]
    )
    expected = -z.log_softmax(-1)[0]
    torch.testing.assert_close(matrix @ corrected, expected)


def test_forward_is_least_where_the_prediction_explains_the_labels() -> None:
    """Theorem 2: the mean over the noise is least in p at the true distribution."""
    matrix, clean = a_matrix(4), torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)
    z = clean.log().clone().requires_grad_()
    loss = torch.stack([explained(z[None], column[None])[0] for column in matrix.T])
    [found] = torch.autograd.grad((clean @ matrix) @ loss, z)
    assert found.abs().max() < 1e-12


@pytest.mark.parametrize("size", [1.0, 1e37])
def test_they_are_finite_where_a_label_is_never_given(size: float) -> None:
    z = (size * torch.eye(3)).requires_grad_()
    never = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    loss = explained(z, never)
    assert loss.isfinite().all()
    assert abs(float(loss[1].detach())) < 1e-6
    [found] = torch.autograd.grad(loss.sum(), z)
    assert found.isfinite().all()
    assert found[1].abs().max() < 1e-6


# -- the matrix -----------------------------------------------------------------------------------


def plain_anchors(p: list[list[float]], percentile: float) -> list[list[float]]:
    """From a sorted list for each class."""
    rows = []
    for k in range(len(p[0])):
        ranked = sorted(range(len(p)), key=lambda i: (p[i][k], i))
        share = percentile / 100 * (len(p) - 1)
        row = p[ranked[int(share) + (share > int(share))]]
        rows.append([value / sum(row) for value in row])
    return rows


@pytest.mark.parametrize("percentile", [100.0, 97.0, 50.0, 1.0])
def test_anchors_are_a_plain_sort_s(percentile: float) -> None:
    p = torch.randn(41, 5, dtype=torch.float64).softmax(-1)
    p[7] = p[3]  # equal ones, by their places
    expected = torch.tensor(plain_anchors(p.tolist(), percentile), dtype=torch.float64)
    torch.testing.assert_close(from_anchors(p, percentile), expected)


def test_anchors_tell_the_matrix_where_each_class_has_a_sure_sample() -> None:
    matrix = a_matrix(5)
    clean = torch.cat([torch.eye(5, dtype=torch.float64), torch.full((20, 5), 0.2).double()])
    torch.testing.assert_close(from_anchors(clean @ matrix), matrix)


def test_as_much_of_the_identity_as_a_matrix_takes_to_be_inverted() -> None:
    alike = torch.full((4, 4), 0.25, dtype=torch.float64)
    share = share_to_invert(alike)
    assert 0 < share < 0.1 + 1e-9
    assert is_invertible(with_identity(alike, share))
    assert share_to_invert(a_matrix(4)) == 0.0
    assert share_to_invert(a_matrix(4), 0.3) == 0.3


# -- stages ---------------------------------------------------------------------------------------


def corrected_loss(method: LossCorrection, z: Tensor, label: int) -> Tensor:
    p, matrix = z.softmax(-1), method.transition
    if method.correction == "forward":
        return -torch.stack([p[i] * matrix[i, label] for i in range(10)]).sum().log()
    inverse = torch.linalg.inv(matrix)
    return -torch.stack([inverse[label, j] * p[j].log() for j in range(10)]).sum()


@pytest.mark.parametrize("correction", BOTH)
def test_both_stages_equal_the_plain_loop(correction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(source=FewDigits(50))
    method = build("f_correction", data, DOUBLE, correction=correction, percentile=90.0)
    assert isinstance(method, LossCorrection)
    begun: list[dict[str, Tensor]] = []
    restart = method.restart

    def restarted(stage: str) -> None:
        restart(stage)
        begun.append(deepcopy(dict(method.networks["first"].state_dict())))

    monkeypatch.setattr(method, "restart", restarted)
    first = deepcopy(method.networks["first"])
    fit(method, data, epochs=3)
    for epoch in range(3):
        if epoch == 0:
            network = first
        elif epoch == 1:  # what the first network says of the images as they are, and a new one
            images = torch.cat([b.views[0] for b in data.ordered_batches(torch.device("cpu"))])
            with torch.no_grad():
                said = network.eval()(images).softmax(-1)
            expected = torch.tensor(plain_anchors(said.tolist(), 90.0), dtype=torch.float64)
            if correction == "backward":
                expected = with_identity(expected, share_to_invert(expected))
            torch.testing.assert_close(method.transition, expected, rtol=1e-5, atol=1e-6)
            [fresh] = begun
            network.load_state_dict(fresh)
        network.train()
        if epoch in (0, 1):
            optimizer = torch.optim.SGD(
                network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
            )
        for batch in train_batches(data, epoch):
            z = network(batch.views[0])
            losses = [
                -row.log_softmax(-1)[y] if epoch == 0 else corrected_loss(method, row, y)
                for row, y in zip(z, batch.labels.tolist(), strict=True)
            ]
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(losses).mean())
            optimizer.step()
    found, expected_state = method.networks["first"].state_dict(), network.state_dict()
    for key, values in expected_state.items():
        torch.testing.assert_close(found[key], values, rtol=1e-7, atol=1e-9, msg=key)


def test_what_a_run_leaves_is_the_matrix_and_how_right_each_label_is(tmp_path: Path) -> None:
    data = make_data()
    method = build("f_correction", data)
    tables = RunTables(tmp_path, {}, {"index": torch.arange(60), "paths": None})
    assert method.matrices() == {}
    assert method.scores() == {}
    fit(method, data, 2, [tables], enable_checkpointing=True)
    matrix = torch.from_numpy(read_matrix(tmp_path / "transition.csv"))
    assert torch.equal(matrix, method.matrices()["transition"]), "to the bit"
    images = torch.cat([b.views[0] for b in data.ordered_batches(torch.device("cpu"))])
    with torch.no_grad():
        p = method.networks["first"].eval()(images).softmax(-1).double()
    for i, y in enumerate(method.labels.tolist()):
        expected = p[i, y] * matrix[y, y] / sum(p[i, k] * matrix[k, y] for k in range(10))
        assert float(method.scores()["right"][i]) == pytest.approx(float(expected), rel=1e-4)


# -- a matrix that is told ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["npy", "csv"])
def test_a_file_is_the_matrix_from_the_first_epoch(kind: str, tmp_path: Path) -> None:
    matrix, path = a_matrix(), tmp_path / f"m.{kind}"
    if kind == "npy":
        np.save(path, matrix.numpy())
    else:
        path.write_text(matrix_text(matrix))
    method = made(matrix=str(path), identity_share=0.25)
    assert torch.equal(method.transition, with_identity(matrix, 0.25))
    assert list(method.stages) == ["corrected"]
    assert made("backward", matrix=str(path)).inverse.isfinite().all()


def test_true_is_counted_and_said() -> None:
    data = make_data()
    method = build("f_correction", data, matrix=True)
    assert isinstance(method, LossCorrection)
    assert torch.equal(method.transition, torch.from_numpy(data.labels.transition_matrix()))
    assert data.true_labels == 60
    build("b_correction", data)
    assert data.true_labels == 0, "another method on the same data"


def test_true_labels_that_nobody_knows_are_asked_for_in_a_line() -> None:
    blind = make_data(source=FewDigits(labels_are_true=False), noise=Clean())
    with pytest.raises(InputError, match=r"method\.matrix=true needs true labels"):
        build("f_correction", blind, matrix="true")


def test_other_true_labels_train_the_same_where_the_matrix_is_estimated() -> None:
    states = []
    for shift in (0, 3):
        data = make_data()
        assert data.labels.true is not None
        data.labels = replace(data.labels, true=(data.labels.true + shift) % 10)
        method = build("f_correction", data)
        fit(method, data, epochs=3)
        states.append(dict(method.state_dict()))
    assert all(torch.equal(states[0][key], values) for key, values in states[1].items())


BAD: dict[str, tuple[Any, str]] = {
    "rows": (2 * np.eye(10), "must have rows that sum to 1"),
    "shape": (np.eye(9), r"must be a matrix of shape \(10, 10\), got \(9, 9\)"),
    "negative": (np.eye(10) * 2 - 0.1, "must hold probabilities, got -0.1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_holds_no_such_matrix_is_refused(name: str, tmp_path: Path) -> None:
    path, (matrix, message) = tmp_path / "m.npy", BAD[name]
    np.save(path, matrix)
    with pytest.raises(InputError, match=rf"method\.matrix: .*m\.npy {message}"):
        made(matrix=str(path))


def test_a_matrix_that_cannot_be_inverted_is_refused_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    singular = np.eye(10)
    singular[0] = singular[1]
    np.save(path, singular)
    assert made(matrix=str(path)).transition.any()
    with pytest.raises(InputError, match=r"m\.npy: the matrix can hardly be inverted"):
        made("backward", matrix=str(path))
    assert made("backward", matrix=str(path), identity_share=0.1).inverse.any()


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_a_matrix_by_which_labels_tell_nothing_is_refused(correction: str, tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.full((10, 10), 0.1))
    with pytest.raises(InputError, match=r"m\.npy must have rows that differ"):
        made(correction, matrix=str(path))
    assert made(correction, matrix=str(path), identity_share=0.1).transition.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for loss correction, got 2"),
        ({"correction": "up"}, "method.correction must be forward or backward, got up"),
        ({"matrix": False}, "method.matrix must be estimate, true or a file, got False"),
        ({"matrix": "m.pt"}, r"method.matrix must end in .npy, .npz, .csv or .txt, got m.pt"),
        ({"matrix": "no.npy"}, "method.matrix: there is no file no.npy"),
        ({"percentile": 0.0}, r"method.percentile must be in \(0, 100\], got 0.0"),
        ({"identity_share": 1.0}, r"method.identity_share must be in \[0, 1\), got 1.0"),
        ({"plain_epochs": 0}, "method.plain_epochs must be at least 1, got 0"),
        ({"corrected_epochs": 0}, "method.corrected_epochs must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**settings)
