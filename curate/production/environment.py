"""What, beside the item, decides an image's exact bytes: libraries, device, compute shape."""

import platform
from importlib.metadata import version as installed_version
from typing import Any

import torch

from db.hashing import json_hash
from db.models import Environment

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow")


def describe_environment(
    device: torch.device | str = "cpu", *, compute_batch_size: int | None = None
) -> dict[str, Any]:
    """Return library versions and device.

    `compute_batch_size` is given only where the shape is not the settings' own: a device without
    the memory for it made the images in smaller batches.
    """
    device = torch.device(device)
    details: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        details |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    details |= {"num_threads": torch.get_num_threads()}
    details |= {name: installed_version(name) for name in LIBRARIES}
    if compute_batch_size is not None:
        details |= {"compute_batch_size": compute_batch_size}
    return details


def gpu_memory_gb(device: torch.device) -> float | None:
    """Return the most memory that was taken on a GPU, in 10^9 bytes; None elsewhere."""
    return torch.cuda.max_memory_reserved(device) / 1e9 if device.type == "cuda" else None


def environment_row(details: dict[str, Any]) -> Environment:
    """Return the row of an environment; its id hashes the details."""
    return Environment(id=json_hash(details), details=details)
