"""One or two networks, trained side by side."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pmnar.errors import InputError
from pmnar.methods.threads import generators, second_thread
from pmnar.networks.features import features_and_logits
from pmnar.networks.projected import ProjectedNetwork
from pmnar.networks.split_norm import in_parts, split_batch_norm
from pmnar.networks.statistics import untracked

T = TypeVar("T")
FASTEST = {"cuda": "off"}
"""What `compute.compile=auto` is on a kind of device: the fastest that `benchmarks/gpu.py` found
there. It has not run on CUDA yet, so nothing is compiled unless asked for."""
HAVE_GRAPHS = ("reduce-overhead", "max-autotune")


class Output(NamedTuple):
    """What a network says of images, where no gradient is needed.

    Attributes:
        probabilities: fp32 `[B, K]`.
        logits: `[B, K]`.
        features: `[B, F]`; None where they were not asked for.
    """

    probabilities: Tensor
    logits: Tensor
    features: Tensor | None = None

    @property
    def known_features(self) -> Tensor:
        """Features that were asked for."""
        assert self.features is not None
        return self.features


Logits = dict[str, tuple[Tensor, ...]]
"""For each network's name its logits `[B, K]` of every view."""


class Networks(nn.ModuleDict):
    """The networks of a method by name, all of one architecture.

    Args:
        networks: by name; one or two.
        fused_forward: one forward of all views together instead of one a view, with BatchNorm
            split per view; equal but for rounding, larger kernels, fewer of them.

    Attributes:
        channels_last: whether images are laid out in memory pixel by pixel, which CUDA's
            convolutions in 16 bits want.
        two_threads: whether two networks may take a thread each: on a CPU, where each thread has
            a core of its own.
        apart: whether no network's loss reaches the other's parameters.
        compiled_by: the mode of `torch.compile` for training forwards of full shapes, or `off`.
    """

    def __init__(self, networks: Mapping[str, nn.Module], fused_forward: bool = False) -> None:
        super().__init__(networks)
        self.fused_forward = fused_forward
        self.channels_last = self.two_threads = self.apart = False
        self._draws: bool | None = None
        self.compile_by("off", "cpu")
        self.check_split()

    def check_split(self) -> None:
        """Split the networks' BatchNorm, where there is a fused forward.

        Raises:
            InputError: there is BatchNorm of another kind (SyncBatchNorm, for one).
        """
        if self.fused_forward:
            for network in self.values():
                split_batch_norm(network)

    def lay_out(self, channels_last: bool) -> None:
        """Lay out the weights, and from now on the images."""
        self.channels_last = channels_last
        self.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    # -- training ---------------------------------------------------------------------------------

    @property
    def in_threads(self) -> bool:
        """Whether two networks take a thread each in training.

        Networks that draw numbers (dropout) in the first step take turns: they share PyTorch's
        generator, Python's or NumPy's.
        """
        suited = self.two_threads and self.apart and self.compiled_by == "off"
        return suited and self._draws is False

    def logits(self, views: tuple[Tensor, ...]) -> Logits:
        """Every network's logits of every view: one forward for each, none twice."""
        return self.trained(lambda name: self.logits_of(name, views))

    def trained(self, function: Callable[[str], T]) -> dict[str, T]:
        """What `function` gives for each network's name, by its forwards in training alone."""
        if self._draws is None:
            before = generators()
            found = self.each(function, False)
            self._draws = generators() != before
            return found
        return self.each(function, self.in_threads)

    def logits_of(self, name: str, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One network's logits of every view, for methods whose networks see different inputs."""
        views = tuple(map(self._laid_out, views))
        if not self.fused_forward or len(views) == 1:
            return tuple(self._forward(name, view) for view in views)
        together = torch.cat(views)
        with in_parts(self[name], len(views)):
            return tuple(self._forward(name, together).chunk(len(views)))

    def projected(self, name: str, images: Tensor) -> Tensor:
        """One network's projections `[B, P]` of images, where it has a projection."""
        network = self[name]
        assert isinstance(network, ProjectedNetwork)
        return network.projected(self._laid_out(images))

    def logits_with(self, name: str, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """One network's logits `[B, K]` with these parameters, by name, in its own ones' place.

        In training too it leaves no mark on BatchNorm's running statistics. Never compiled.
        """
        with untracked(self[name]):
            found: Tensor = functional_call(self[name], dict(parameters), self._laid_out(images))
        return found

    def compile_by(self, mode: str, device_type: str) -> None:
        """Compile training forwards from now on; `auto` is the device's fastest mode.

        What the first batch, a full one, is shaped like goes through the compiled network; other
        shapes through the network as it is, so that shapes stay static. Checkpoints keep their
        keys.
        """
        self.compiled_by = FASTEST.get(device_type, "off") if mode == "auto" else mode
        self._compiled: dict[str, Callable[[Tensor], Tensor]] = {}
        self._full: dict[str, torch.Size] = {}
        if self.compiled_by != "off":
            torch._dynamo.reset()  # of several runs in a process each may compile

    def begin_step(self) -> None:
        """Say that what a compiled network gave in the step before is no longer needed."""
        if self.compiled_by in HAVE_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def _forward(self, name: str, images: Tensor) -> Tensor:
        network = self[name]
        full = self._full.setdefault(name, images.shape) if network.training else None
        if self.compiled_by == "off" or images.shape != full:
            return network(images)  # type: ignore[no-any-return]
        try:
            if name not in self._compiled:
                compiled = torch.compile(network, mode=self.compiled_by, dynamic=False)
                self._compiled[name] = compiled
            return self._compiled[name](images)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"compute.compile={self.compiled_by} failed: {reason}; set compute.compile=off"
            ) from error

    # -- prediction -------------------------------------------------------------------------------

    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Class probabilities of each network by name, fp32 `[B, K]`."""
        return {name: output.probabilities for name, output in self.outputs(images).items()}

    def outputs(self, images: Tensor, features: bool = False) -> dict[str, Output]:
        """What each network says, by name; its features too where asked for.

        Raises:
            InputError: a network has no features to tell.
        """
        images = self._laid_out(images)

        def output_of(name: str) -> Output:
            network = self[name]
            found, z = features_and_logits(network, images) if features else (None, network(images))
            return Output(z.float().softmax(-1), z, found)

        return self.each(output_of, not self.training)

    def _laid_out(self, images: Tensor) -> Tensor:
        return (
            images.contiguous(memory_format=torch.channels_last) if self.channels_last else images
        )

    def each(self, function: Callable[[str], T], in_threads: bool = False) -> dict[str, T]:
        """What `function` gives for each network's name.

        Args:
            function: what it does with one network does not depend on the other.
            in_threads: let a second thread have the second network, where `two_threads`. PyTorch's
                operations let go of Python's lock, so the two then use two cores.
        """
        first, *others = self
        # Autocast is a thread's own, and left to the one that has it.
        if not (in_threads and self.two_threads and others) or torch.is_autocast_enabled("cpu"):
            return {name: function(name) for name in self}
        (second,), wanted, threads = others, torch.is_grad_enabled(), torch.get_num_threads()

        def in_second_thread() -> T:
            # Each Python thread has a setting of its own, from when it first worked.
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with torch.set_grad_enabled(wanted):
                return function(second)

        found = second_thread().submit(in_second_thread)
        try:
            return {first: function(first), second: found.result()}
        finally:
            found.exception()  # nothing goes on while the other thread still works
