"""Image towers of models that open_clip saved, as BiomedCLIP is: a configuration and all weights.

The folder, or the repository on the hub, has open_clip_config.json beside the weights,
open_clip_model.safetensors or open_clip_pytorch_model.bin. The image tower is one of timm's; the
text tower is not read. Shapes: B images, D features.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rewards.errors import RewardError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TOWER = "visual.trunk."  # what the names of its tensors begin with


def saved_file(name: str, file: str) -> Path | None:
    """Return a file of a folder, or of a repository on the hub, fetched once; None without it."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return Path(path) if path else None


def image_tower(name: str, config: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the image tower [B, 3, side, side] -> [B, D], and {"side", "mean", "std"}.

    RewardError when timm is not installed, the tower is not one of timm's, or weights are missing.
    """
    saved = json.loads(config.read_text(encoding="utf-8"))
    vision = saved["model_cfg"]["vision_cfg"]
    if "timm_model_name" not in vision:
        raise RewardError(
            f"The image tower of {name} is open_clip's own, and only timm's (like BiomedCLIP's) "
            "can be read. Open it in transformers' format, or use another backbone."
        )
    pool = {"global_pool": vision["timm_pool"]} if vision.get("timm_pool") else {}
    try:
        import timm
    except ImportError as error:
        raise RewardError(
            "A model of open_clip's needs timm: pip install 'curate-images[open-clip]'."
        ) from error
    tower: nn.Module = timm.create_model(vision["timm_model_name"], num_classes=0, **pool)
    try:
        tower.load_state_dict(_weights(name))
    except RuntimeError as error:
        raise RewardError(
            f"The weights of {name} are not those of {vision['timm_model_name']} "
            f"({str(error).splitlines()[-1].strip()}). Save the whole model there."
        ) from error
    looks = saved.get("preprocess_cfg", {})
    side = vision.get("image_size", 224)
    return tower, {
        "side": int(side),
        **{key: looks[key] for key in ("mean", "std") if key in looks},
    }


def _weights(name: str) -> dict[str, Tensor]:
    for file in WEIGHTS:
        path = saved_file(name, file)
        if path is not None:
            everything = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
            return {
                key.removeprefix(TOWER): tensor
                for key, tensor in everything.items()
                if key.startswith(TOWER)
            }
    raise RewardError(f"{name} has a {CONFIG}, but neither {' nor '.join(WEIGHTS)}.")
