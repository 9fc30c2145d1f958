"""What a number must be published with: versions and hardware."""

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

THREADS = torch.get_num_threads()
"""PyTorch's own choice, before a run makes another: it knows OMP_NUM_THREADS and the cores."""
PACKAGES = (
    "pmnar",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str | int]:
    """The processor, its cores, and the GPUs, as far as they can be named."""
    found: dict[str, str | int] = {"cpu": _cpu_name(), "cores": os.cpu_count() or 1}
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        found["gpu"] = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    return found


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
