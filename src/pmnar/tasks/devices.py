"""From the configuration to what a run computes with: device, precision, strategy, threads."""

import inspect
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig
from torch.nn.parallel import DistributedDataParallel

from pmnar.errors import InputError
from pmnar.runtime import facts
from pmnar.runtime.compute import Compute, planned_world_size
from pmnar.tasks.command import plain

ACCELERATORS = ("auto", "cpu", "cuda", "gpu")
PRECISIONS = ("auto", "32-true", "bf16-mixed")
BEFORE: dict[str, dict[str, Any]] = {
    "compute": {"threads": None, "compile": "off", "channels_last": False, "fused_forward": False}
}
"""What a run was computed with that is older than these keys."""
START_METHODS = {"auto": "popen", "ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork"}


def parse_compute(cfg: DictConfig) -> Compute:
    """What a run of this configuration computes with, on this machine.

    Raises:
        InputError: there is no such thing, or not here, or the settings cannot go together.
    """
    trainer = plain(cfg.trainer)
    accelerator = choose_accelerator(trainer["accelerator"])
    devices = choose_devices(accelerator, trainer["devices"])
    num_nodes = choose_nodes(trainer["num_nodes"])
    if trainer["strategy"] not in START_METHODS:
        allowed = ", ".join(START_METHODS)
        raise InputError(f"trainer.strategy must be one of {allowed}, got {trainer['strategy']}")
    asked = BEFORE["compute"] | plain(cfg.get("compute", {}))
    asked["compile"] = asked["compile"] or "off"  # YAML's off is false
    if asked["fused_forward"] and trainer["sync_batchnorm"]:
        raise InputError(
            "compute.fused_forward=true splits BatchNorm per view, which "
            "trainer.sync_batchnorm=true undoes"
        )
    alone = planned_world_size(devices, num_nodes) == 1
    side_by_side = alone and cfg.method.get("networks") == 2 and accelerator == "cpu"
    threads = choose_threads(asked.pop("threads"), alone, side_by_side)
    return Compute(
        **asked,
        two_threads=side_by_side and threads is not None and 2 * threads <= facts.THREADS,
        threads=threads,
        precision=choose_precision(trainer["precision"], accelerator, trainer["strategy"]),
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=trainer["strategy"],
    )


def choose_threads(threads: Any, alone: bool = True, side_by_side: bool = False) -> int | None:
    """Threads of PyTorch's operations: `threads`, or PyTorch's own choice.

    Two networks side by side share that choice out: each takes a thread of its own with half.
    Among several processes, not `alone`, Lightning shares out the cores: None.

    Raises:
        InputError: `threads` is no number of threads.
    """
    if threads is None and alone:
        return max(facts.THREADS // 2, 1) if side_by_side else facts.THREADS
    if threads is None or (isinstance(threads, int) and threads >= 1):
        return threads
    raise InputError(f"compute.threads must be null or at least 1, got {threads}")


def choose_precision(precision: Any, accelerator: str, strategy: str) -> str:
    """`auto` is bf16-mixed on GPUs that have bf16, else 32 bits: on CPUs bf16 is slower.

    Raises:
        InputError: it is fp16, whose gradient scaler mis-scales the second network when the scale
            changes, or the GPU cannot be asked.
    """
    if str(precision) not in PRECISIONS:
        raise InputError(
            f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {precision} "
            "(fp16's gradient scaler would mis-scale the second network)"
        )
    if precision != "auto":
        return str(precision)
    on_gpu = accelerator in ("gpu", "cuda") and torch.cuda.is_available()
    if on_gpu and strategy == "ddp_fork":
        raise InputError(
            "trainer.precision=auto asks the GPU, which trainer.strategy=ddp_fork forbids before "
            "the ranks are forked; set trainer.precision=bf16-mixed or 32-true"
        )
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(False) else "32-true"


def choose_accelerator(name: str, key: str = "trainer.accelerator") -> str:
    """`auto` is CUDA where there is a GPU, else the CPU.

    Raises:
        InputError: it is of another kind. Apple's GPUs lack float64 and determinism.
    """
    if name not in ACCELERATORS:
        raise InputError(
            f"{key} must be one of {', '.join(ACCELERATORS)}, got {name}"
            + (" (Apple's GPUs lack float64)" if name == "mps" else "")
        )
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_nodes(num_nodes: Any) -> int:
    """A number of machines.

    Raises:
        InputError: it is none.
    """
    if not isinstance(num_nodes, int) or isinstance(num_nodes, bool) or num_nodes < 1:
        raise InputError(f"trainer.num_nodes must be at least 1, got {num_nodes}")
    return num_nodes


def choose_devices(accelerator: str, devices: Any) -> int | str | tuple[int, ...]:
    """A number of devices, or the numbers of some GPUs; `auto` stays as it is.

    Raises:
        InputError: there are fewer GPUs, or it is none of these.
    """
    gpus = torch.cuda.device_count()
    lower = f"but this machine has {gpus} GPUs; lower it, or set trainer.accelerator=cpu"
    if accelerator != "cpu" and gpus == 0:
        raise InputError(
            f"trainer.accelerator={accelerator} with trainer.devices={devices}, {lower}"
        )
    if devices == "auto":
        return "auto"
    if isinstance(devices, list):
        if accelerator == "cpu":
            raise InputError(
                f"trainer.devices={devices} names GPUs; on trainer.accelerator=cpu it is a number "
                "of processes"
            )
        if not devices or len({*devices}) < len(devices) or not {*devices} <= {*range(gpus)}:
            raise InputError(f"trainer.devices={devices} must be different numbers below {gpus}")
        return tuple(devices)
    count = int(devices) if str(devices).isdecimal() else devices
    if not isinstance(count, int) or isinstance(count, bool):
        raise InputError(
            f"trainer.devices must be a number, auto, or a list of GPUs' numbers, got {devices}"
        )
    if count < 1:
        raise InputError(f"trainer.devices must be at least 1, got {devices}")
    if accelerator != "cpu" and count > gpus:
        raise InputError(f"trainer.devices={devices}, {lower}")
    return count


def build_strategy(compute: Compute) -> Any:
    """Lightning's choice on one device; DDP on several.

    Buffers are not broadcast at each step: they hold per-sample state, equal on all ranks, and
    BatchNorm statistics, averaged once an epoch.
    """
    if compute.world_size == 1:
        return "auto"
    known = inspect.signature(DistributedDataParallel).parameters
    each_step = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {each_step: False, "start_method": START_METHODS[compute.strategy]}
    options["timeout"] = timedelta(minutes=10)  # for ranks to meet, and of a collective
    return DDPStrategy(**options)
