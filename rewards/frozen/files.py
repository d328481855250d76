"""The shipped files: weights in half precision with what is known of them in their headers."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from rewards.errors import RewardError

WEIGHTS = Path(__file__).parent / "weights"


def write_tensors(name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write `weights/NAME.safetensors`, floats as float16, and record its hash."""
    WEIGHTS.mkdir(exist_ok=True)
    halves = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in tensors.items()
    }
    header = {"about": json.dumps(about, sort_keys=True)}
    # Not `save_file`: its files can be read by nobody but their owner.
    (WEIGHTS / f"{name}.safetensors").write_bytes(save(halves, metadata=header))
    hashes = {path.name: file_hash(path) for path in sorted(WEIGHTS.glob("*.safetensors"))}
    (WEIGHTS / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


def read_tensors(name: str) -> dict[str, Tensor]:
    """Read `weights/NAME.safetensors`, floats as float32."""
    with safe_open(_path(name), framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def read_about(name: str) -> dict[str, Any]:
    """Read what the header of `weights/NAME.safetensors` says of the weights."""
    with safe_open(_path(name), framework="pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["about"])
    return about


def read_hashes() -> dict[str, str]:
    """Read the SHA-256 of every weights file as recorded when it was written."""
    recorded: dict[str, str] = json.loads((WEIGHTS / "hashes.json").read_text(encoding="utf-8"))
    return recorded


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def average_of(average: dict[str, Tensor], state: Mapping[str, Tensor], decay: float) -> None:
    """Move the running average of the weights a little towards the present weights."""
    for key, value in state.items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


def _path(name: str) -> Path:
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise RewardError(
            f"No {path.name} beside the code in rewards/frozen/weights. The installation is not "
            "whole: install it again."
        )
    return path


def num_weights(tensors: Mapping[str, Tensor]) -> int:
    """Count the weights (floats) of a network."""
    return sum(value.numel() for value in tensors.values() if value.is_floating_point())


def half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights as they come back from half precision: what is measured is what ships."""
    return {
        key: value.half().float() if torch.is_floating_point(value) else value
        for key, value in state.items()
    }
