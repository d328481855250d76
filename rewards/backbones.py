"""Frozen vision networks under a reward model: images to features, with gradients to the pixels.

Shapes: B images, D features.
"""

import hashlib
import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from rewards import open_clip
from rewards.errors import RewardError

TORCHVISION = "torchvision/"
GROUP = "curate.backbones"  # a package's entry points here: name = "module:load"
IMAGENET_SIDE = 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network that never learns: images [B, 3, H, W] in [0, 1], any H and W, to features [B, D].

    Volumes are slices [B, S, 3, H, W]; their features are the mean over slices.

    `fingerprint` is the SHA-256 of its weights: features of equal fingerprints are comparable.
    """

    def __init__(self, name: str, network: nn.Module, dim: int) -> None:
        super().__init__()
        self.name, self.dim = name, dim
        self.network = network.eval().requires_grad_(False)
        self.fingerprint = _fingerprint(network)
        sides = [part.side for part in network.modules() if isinstance(part, Resized)]
        self.resizing = (
            f"whole image at {sides[0]} x {sides[0]} px, bilinear, antialiased"
            if sides
            else "central square at 64 x 64 px, bicubic, antialiased"
        )

    def features(self, images_B3HW: Tensor) -> Tensor:
        """Return features [B, D]; of slices [B, S, 3, H, W] their mean."""
        if images_B3HW.ndim == 5:
            num_volumes, num_slices = images_B3HW.shape[:2]
            features_ND = self.features(images_B3HW.flatten(0, 1))
            return features_ND.reshape(num_volumes, num_slices, -1).mean(dim=1)
        features_BD: Tensor = self.network(images_B3HW)
        return features_BD

    def train(self, mode: bool = True) -> "Backbone":
        """Stay as it is: batch statistics of few images would change the features."""
        return self


def load_backbone(name: str) -> Backbone:
    """Return the backbone of this name; RewardError when there is none.

    "embedded" and "features" ship with curate (the second is for a judge that must not share the
    first). "torchvision/resnet50" takes torchvision's own weights, fetched once. Anything else is a
    folder that transformers saved a vision model into, or its name on the hub, fetched once. Of a
    model of images and texts (CLIP, SigLIP) the image tower is taken; so it is of what open_clip
    saved (BiomedCLIP). A package brings others, by "module:load", where load(name) returns one.
    """
    if name in ("embedded", "features"):
        from rewards import frozen
        from rewards.frozen.levels import EveryLevel

        encoder = name == "embedded"
        network = EveryLevel(frozen.load_encoder()) if encoder else frozen.load_features()
        with torch.no_grad():
            dim = network(torch.zeros(1, 3, 64, 64)).shape[1]
        return Backbone(name, network, dim)
    if name.startswith(TORCHVISION):
        return _from_torchvision(name)
    brought = {point.name: point for point in entry_points(group=GROUP)}
    if name in brought:
        backbone: Backbone = brought[name].load()(name)
        return backbone
    if (Path(name) / open_clip.CONFIG).is_file():
        return _from_open_clip(name, Path(name) / open_clip.CONFIG)
    if (Path(name) / "config.json").is_file():
        return _from_transformers(name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        config = open_clip.saved_file(name, open_clip.CONFIG)
        return _from_open_clip(name, config) if config else _from_transformers(name)
    raise RewardError(
        f"No backbone {name!r}. Known: embedded, features, {TORCHVISION}NAME, a folder with a "
        "transformers vision model (config.json and model.safetensors) or an open_clip one "
        f"({open_clip.CONFIG}), or its hub name OWNER/NAME. A package can bring more, by an entry "
        f"point in the group {GROUP!r}."
    )


def _from_torchvision(name: str) -> Backbone:
    architecture = name.removeprefix(TORCHVISION)
    try:
        network = torchvision.models.get_model(architecture, weights="DEFAULT")
    except ValueError as error:
        raise RewardError(
            f"torchvision has no model {architecture!r}. Known: "
            f"{', '.join(torchvision.models.list_models(module=torchvision.models))}."
        ) from error
    except OSError as error:
        raise RewardError(
            f"The weights of {name} could not be fetched ({error}). Connect once, or use "
            "--backbone embedded."
        ) from error
    return torchvision_backbone(name, network)


def torchvision_backbone(name: str, classifier: nn.Module) -> Backbone:
    """Return an image classifier as a backbone: what its last layer would see."""
    path, last = [
        (path, module)
        for path, module in classifier.named_modules()
        if isinstance(module, nn.Linear)
    ][-1]
    parent, _, attribute = path.rpartition(".")
    setattr(classifier.get_submodule(parent), attribute, nn.Identity())
    network = nn.Sequential(Resized(IMAGENET_SIDE, IMAGENET_MEAN, IMAGENET_STD), classifier)
    return Backbone(name, network, last.in_features)


def _from_transformers(name: str) -> Backbone:
    from transformers import AutoModel

    try:
        model, found = AutoModel.from_pretrained(
            name,
            local_files_only=Path(name).is_dir(),
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise RewardError(
            f"transformers cannot open {name} ({error}). Save a vision model into a folder with "
            "save_pretrained, and name the folder."
        ) from error
    missing = sorted(found["missing_keys"])
    if any(not key.startswith("pooler.") for key in missing):
        raise RewardError(
            f"{name} lacks weights of its network ({missing[0]} and {len(missing) - 1} more). "
            "Save the whole model there with save_pretrained."
        )
    if missing:
        model.pooler = None  # not asked, and random: its weights are in few checkpoints
    if hasattr(model, "vision_model"):
        model = model.vision_model
    looks = transformers_looks(name, int(model.config.image_size))
    network = nn.Sequential(looks, _Pooled(model))
    with torch.no_grad():
        dim = network(torch.zeros(1, 3, 64, 64)).shape[1]
    return Backbone(name, network, dim)


def transformers_looks(name: str, side: int | None) -> "Resized":
    """Return how images are brought to what a transformers network knows, by its preprocessor.

    `side` in pixels; None: the preprocessor's own.
    """
    from transformers.utils.hub import cached_file

    path = cached_file(
        name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    saved = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    size = saved.get("size", IMAGENET_SIDE) if side is None else side
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or IMAGENET_SIDE
    if not saved.get("do_normalize", True):
        return Resized(int(size), (0.0,), (1.0,))
    mean = tuple(saved.get("image_mean", IMAGENET_MEAN))
    return Resized(int(size), mean, tuple(saved.get("image_std", IMAGENET_STD)))


def _from_open_clip(name: str, config: Path) -> Backbone:
    tower, looks = open_clip.image_tower(name, config)
    resized = Resized(
        looks["side"],
        tuple(looks.get("mean", IMAGENET_MEAN)),
        tuple(looks.get("std", IMAGENET_STD)),
    )
    network = nn.Sequential(resized, tower)
    with torch.no_grad():
        dim = network.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    return Backbone(name, network, dim)


class Resized(nn.Module):
    """Bring images to a square of `side` pixels and to the mean and spread a network knows."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("mean_C11", torch.tensor(mean)[:, None, None])
        self.register_buffer("std_C11", torch.tensor(std)[:, None, None])

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return [B, 3, side, side], less the mean, over the spread."""
        square = functional.interpolate(
            images_B3HW, (self.side, self.side), mode="bilinear", antialias=True
        )
        return (square - self.mean_C11) / self.std_C11


class _Pooled(nn.Module):
    """A transformers vision model's tokens, averaged."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_B3HW: Tensor) -> Tensor:
        tokens_BLD: Tensor = self.model(pixel_values=images_B3HW).last_hidden_state
        return tokens_BLD.flatten(2).mean(2) if tokens_BLD.ndim == 4 else tokens_BLD.mean(1)


def _fingerprint(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
