"""PMNAR's mathematics in a plain PyTorch loop, to compare Lightning and the bookkeeping with.

It uses the library's data, draws, views and loss functions, so that it ends with the same networks
to the bit, and nothing of its methods, data module, callbacks and Trainer. It writes nothing.
"""

import copy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from benchmarks.growth import PASS, STEPS, TEST
from benchmarks.runs import Clock, Run
from pmnar import losses
from pmnar.augment import PaddedAugmentation
from pmnar.data.batches import Share, ShuffledBatches, Stream
from pmnar.data.residence import ResidentImages
from pmnar.methods import PMNAR
from pmnar.samples.complementary import ComplementaryLabels
from pmnar.samples.reweighting import adaptive_weights
from pmnar.tasks.command import plain

VIEWS = ("weak", "strong")
T = TypeVar("T")


class BareLoop:
    """Two networks, two views, the store, the exchanged weights, and the test after each epoch.

    Args:
        run: a run of `method=pmnar` with its default settings, before it is trained; the loop gets
            copies of its networks.
        device: where to train.
        dtype: what to train in: float32, or bfloat16 by autocast.
        channels_last: the layout of weights and images.
        two_threads: let a second thread have the second network, as the library does on a CPU.

    Attributes:
        accuracy: of each network and of the ensemble on the test set, a row an epoch.
        seconds: of the last epoch's parts, by the names that `growth.Parts` has for them.
    """

    def __init__(
        self,
        run: Run,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        two_threads: bool = False,
    ) -> None:
        assert isinstance(run.method, PMNAR)
        assert run.method.beta > 0
        self.cfg, self.data = run.cfg, run.data
        self.device, self.dtype = torch.device(device), dtype
        self.second_thread = ThreadPoolExecutor(1) if two_threads else None
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.beta, self.warm_up = run.method.beta, run.method.warmup_epochs
        self.networks = [
            copy.deepcopy(net).to(self.device).to(memory_format=self.layout)
            for net in run.method.networks.values()
        ]
        groups = [{"params": list(network.parameters())} for network in self.networks]
        self.optimizer = instantiate(plain(self.cfg.optimizer))(groups)
        self.scheduler = instantiate(plain(self.cfg.scheduler))(self.optimizer)
        train, test = self.data.splits["train"], self.data.splits[self.data.test_names[0]]
        self.views: list[PaddedAugmentation] = [self.data.views.by_name[name] for name in VIEWS]  # type: ignore[misc]
        self.border = self.views[0].padding
        self.images = ResidentImages(train.images, self.border, self.device)
        self.labels = train.labels.to(self.device)
        self.test = test.images.to(self.device), test.labels.to(self.device)
        self.store = ComplementaryLabels(self.labels, self.data.num_classes)
        self.weights = torch.ones(2, len(self.labels), device=self.device)
        self.accuracy: list[list[float]] = []
        self.seconds: dict[str, float] = {}

    def fit(self, epochs: int) -> list[float]:
        """Train, and return each epoch's seconds."""
        clock = Clock(epochs)
        if self.warm_up == 0:
            self.reweight()
        for epoch in range(epochs):
            clock.tick(self.device)
            times = [time.perf_counter()]
            self.train_epoch(epoch)
            times.append(time.perf_counter())
            self.accuracy.append(self.evaluate())
            times.append(time.perf_counter())
            self.scheduler.step()
            if epoch + 2 > self.warm_up:
                self.reweight()
            times.append(time.perf_counter())
            took = [after - before for before, after in pairwise(times)]
            self.seconds = dict(zip((STEPS, TEST, PASS), took, strict=True))
        clock.tick(self.device)
        return clock.seconds

    def train_epoch(self, epoch: int) -> None:
        """All steps of an epoch, counted from 0."""
        everything = {"train": Stream(torch.arange(len(self.labels)))}
        batch_size, seed = self.data.batch_size, self.data.seed
        for network in self.networks:
            network.train()
        for request in ShuffledBatches(everything, batch_size, seed, 0, 1, lambda: epoch):
            assert request.share is not None
            self.step(request.indices.to(self.device, non_blocking=True), request.share)

    def step(self, index: Tensor, share: Share) -> None:
        """One joint backward of both networks on both views, then one step."""
        views, label = self.views_of(index, share), self.labels[index]
        weights, mask = self.weights[:, index], self.store.mask(index)
        self.optimizer.zero_grad()
        logits = self.each(lambda n: [self.forward(n, view) for view in views])
        target = torch.stack([weak.float().softmax(-1) for weak, _ in logits]).mean(0).detach()
        totals = []
        for n, (weak, strong) in enumerate(logits):
            supervised = weights[n] * losses.positive_and_multi_negative(weak, label, mask)
            consistency = self.beta * losses.consistency(strong, target)
            totals.append(torch.stack([supervised, consistency]).sum() * (1 / share.size))
        if self.second_thread is None:
            torch.autograd.backward(torch.stack(totals).sum())
        else:
            self.each(lambda n: torch.autograd.backward(totals[n]))
        self.optimizer.step()

    def views_of(self, index: Tensor, share: Share) -> list[Tensor]:
        """The weak and the strong view, normalised: images after them, features before."""
        padded, normalize = self.images.gather(index), self.data.views.normalize
        of_features = padded.is_floating_point()
        if of_features:
            padded = normalize(padded)
        channels, height, width = self.images.images.shape[1:]
        found = []
        for name, view in zip(VIEWS, self.views, strict=True):
            draws = view.draw(share.size, (channels, height, width), share.generator(name))
            changed = view.apply_padded(padded, draws)
            found.append(changed if of_features else normalize(changed))
        return found

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        """Accuracy of each network and of the ensemble."""
        images, labels = self.test
        right = torch.zeros(3, device=self.device)
        for block in self._blocks(len(labels)):
            p = self.probabilities(images[block])
            for position, each in enumerate((*p, torch.stack(p).mean(0))):
                right[position] += (each.argmax(-1) == labels[block]).sum()
        return [float(count) / len(labels) for count in right]

    @torch.no_grad()
    def reweight(self) -> None:
        """The ordered pass: shrink the store, and weigh each network by the other's confidence."""
        found = [self._measured(block) for block in self._blocks(len(self.labels))]
        first, second, prediction = (torch.cat(rows) for rows in zip(*found, strict=True))
        self.store.discard(torch.arange(len(self.labels), device=self.device), prediction)
        self.weights[0], self.weights[1] = adaptive_weights(second), adaptive_weights(first)

    def _blocks(self, size: int) -> tuple[Tensor, ...]:
        return torch.split(torch.arange(size, device=self.device), self.data.eval_batch_size)

    def _measured(self, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both networks' confidence in the given labels, and the first one's prediction."""
        p, label = self.probabilities(self.images.images[block]), self.labels[block]
        first, second = (each.gather(-1, label[:, None]).squeeze(-1) for each in p)
        return first, second, p[0].argmax(-1)

    def probabilities(self, images: Tensor) -> list[Tensor]:
        """Each network's, in eval mode, fp32 `[B, K]`."""
        x = self.data.views.normalize(images)
        for network in self.networks:
            network.eval()
        return self.each(lambda n: self.forward(n, x).float().softmax(-1))

    def forward(self, n: int, images: Tensor) -> Tensor:
        """Logits `[B, K]` of the network `n`."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits: Tensor = self.networks[n](images.contiguous(memory_format=self.layout))
        return logits

    def each(self, function: Callable[[int], T]) -> list[T]:
        """What `function` gives for each network."""
        if self.second_thread is None:
            return [function(0), function(1)]
        wanted = torch.is_grad_enabled()

        def with_second() -> T:
            with torch.set_grad_enabled(wanted):
                return function(1)

        second = self.second_thread.submit(with_second)
        return [function(0), second.result()]

    def same_networks(self, networks: nn.ModuleDict) -> bool:
        """Whether its networks are those of `networks`, to the bit, on whichever device."""
        return all(
            torch.equal(mine.cpu(), its.cpu())
            for own, other in zip(self.networks, networks.values(), strict=True)
            for mine, its in zip(
                own.state_dict().values(), other.state_dict().values(), strict=True
            )
        )
