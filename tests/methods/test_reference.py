"""PMNAR against METHOD.md's algorithm, written again as plain loops over samples and classes."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, make_method, store_of, train_batches

from pmnar.augment import Normalize
from pmnar.data import NoisyDataModule

NORMALIZE = Normalize([0.3057], [0.3760])


class Reference:
    """Two networks, two optimisers, two backwards, and nothing but lists of numbers between."""

    def __init__(self, data: NoisyDataModule, networks: list[nn.Module], beta: float) -> None:
        self.data, self.networks, self.beta = data, networks, beta
        self.labels = data.splits["train"].labels.tolist()
        self.size, self.classes = len(self.labels), data.num_classes
        self.store = [[k != y for k in range(self.classes)] for y in self.labels]
        self.weights = [[1.0] * self.size for _ in networks]
        self.optimizers = [
            torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
            for net in networks
        ]
        self.rows: list[dict[str, float]] = []

    def train(self, epochs: int, warmup: int) -> None:
        for t in range(1, epochs + 1):
            if t > warmup:
                self.between_epochs()
            sums = torch.zeros(3, dtype=torch.float64)
            for batch in train_batches(self.data, t - 1):
                weak, strong = batch.views
                sums += self.step(weak, strong, batch.indices.tolist())
            names = ("loss_first", "loss_second", "loss_consistency")
            self.rows.append(dict(zip(names, (sums / self.size).tolist(), strict=True)))
            if t == 2:
                for optimizer in self.optimizers:
                    optimizer.param_groups[0]["lr"] /= 10
        self.between_epochs()

    def step(self, weak: Tensor, strong: Tensor, samples: list[int]) -> Tensor:
        logits = [net(weak) for net in self.networks]
        p = [z.detach().exp() / z.detach().exp().sum(1, keepdim=True) for z in logits]
        target = (p[0] + p[1]) / 2
        sums = []
        consistency = torch.zeros((), dtype=torch.float64)
        for net, z, w, optimizer in zip(
            self.networks, logits, self.weights, self.optimizers, strict=True
        ):
            strong_z = net(strong)
            rows = range(len(samples))
            supervised = [w[i] * self.pm(z[row], i) for row, i in enumerate(samples)]
            reg = [self.beta * self.divergence(target[row], strong_z[row]) for row in rows]
            optimizer.zero_grad()
            torch.autograd.backward((torch.stack(supervised) + torch.stack(reg)).mean())
            optimizer.step()
            sums.append(torch.stack(supervised).sum().detach())
            consistency += torch.stack(reg).sum().detach()
        return torch.stack([*sums, consistency])

    def pm(self, z: Tensor, sample: int) -> Tensor:
        p = z.exp() / z.exp().sum()
        loss = -p[self.labels[sample]].log()
        for k in range(self.classes):
            if self.store[sample][k]:
                loss = loss - (1 - p[k]).log()
        return loss

    def divergence(self, target: Tensor, z: Tensor) -> Tensor:
        p = z.exp() / z.exp().sum()
        return sum(
            (target[k] * (target[k].log() - p[k].log()) for k in range(self.classes)),
            start=torch.zeros((), dtype=torch.float64),
        )

    @torch.no_grad()
    def between_epochs(self) -> None:
        confidences = []
        for position, net in enumerate(self.networks):
            net.eval()
            confidence = []
            for i, y in enumerate(self.labels):
                z = net(NORMALIZE(self.data.splits["train"].images[i : i + 1]))[0]
                confidence.append(float(z[y].exp() / z.exp().sum()))
                if position == 0:
                    self.store[i][int(z.argmax())] = False
            confidences.append(confidence)
            net.train()
        first, second = ([c - min(column) for c in column] for column in confidences)
        self.weights = [second, first]


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_three_epochs_equal_the_plain_loop(beta: float) -> None:
    """One epoch of warm-up and two beyond; one joint backward equals two separate updates."""
    data = make_data(source=FewDigits(50))
    method = make_method(data, partial(TinyNet, dtype=torch.float64), beta=beta, networks=2)
    networks = [deepcopy(net) for net in method.networks.values()]
    fit(method, data, epochs=3)

    reference = Reference(data, networks, beta)
    reference.train(epochs=3, warmup=1)

    # Confidences and the target are float32 in the library.
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-6)
    for net, expected in zip(method.networks.values(), networks, strict=True):
        close(dict(net.state_dict()), dict(expected.state_dict()))
    close(method.sample_weights.double(), torch.tensor(reference.weights, dtype=torch.float64))
    assert store_of(method).mask(torch.arange(50)).tolist() == reference.store
    assert any(sum(kept) < 8 for kept in reference.store), "two passes should have discarded two"
    for row, expected_row in zip(method.rows, reference.rows, strict=True):
        total = row["loss_first"] + row["loss_second"] + row["loss_consistency"]
        assert row["loss"] == pytest.approx(total, rel=1e-9)
        for name, value in expected_row.items():
            assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
