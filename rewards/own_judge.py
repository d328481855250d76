"""A user's own network as a judge: images to findings, to classes or to a number.

From a folder with safetensors, or from a package's function; nothing in a folder is run.
Shapes: B images, L labels.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rewards.backbones import (
    IMAGENET_MEAN,
    IMAGENET_SIDE,
    IMAGENET_STD,
    Resized,
    transformers_looks,
)
from rewards.errors import RewardError

GROUP = "curate.judges"  # a package's entry points here: name = "module:load"
KINDS = {"findings": (1, 1000), "classes": (2, 1000), "number": (1, 1)}  # labels: fewest, most
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class OwnJudge:
    """A network that only measures, and what its outputs mean.

    `read` takes images [B, 3, H, W] in [0, 1], any H and W, and returns [B, L]: probabilities of
    findings that do not exclude each other, probabilities of classes, or (L = 1) a number such as
    an age in years.
    """

    name: str
    kind: str  # one of KINDS
    labels: tuple[str, ...]  # of the outputs, in order
    read: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        """Refuse what cannot be: two numbers, one class."""
        if self.kind not in KINDS:
            raise RewardError(f"{self.name}: kind {self.kind!r} is none of {', '.join(KINDS)}.")
        fewest, most = KINDS[self.kind]
        if not fewest <= len(self.labels) <= most:
            raise RewardError(
                f"{self.name} has {len(self.labels)} labels; {self.kind}: {fewest} to {most}."
            )
        if len(set(self.labels)) < len(self.labels):
            raise RewardError(f"{self.name}: two of its labels have one name.")

    @torch.inference_mode()
    def readings(self, images_B3HW: Tensor) -> Tensor:
        """Return what it says [B, L], float64. Raises RewardError for NaN and for other shapes."""
        read_BL = self.read(images_B3HW).double()
        if read_BL.shape != (len(images_B3HW), len(self.labels)):
            raise RewardError(
                f"{self.name} returned {list(read_BL.shape)}; {len(images_B3HW)} images and "
                f"{len(self.labels)} labels need {[len(images_B3HW), len(self.labels)]}."
            )
        if not read_BL.isfinite().all():
            raise RewardError(f"{self.name} returned NaN or infinite values.")
        return read_BL


def load_own_judge(name: str) -> OwnJudge:
    """Return the judge of this name; RewardError when there is none.

    A folder that transformers saved an image classifier into (config.json, model.safetensors); one
    with a torchvision network's weights (model.safetensors) and a config.json such as
    {"torchvision": "densenet121", "kind": "findings", "labels": ["Edema"], "side": 224}; or a
    package's function without arguments that returns an OwnJudge: its entry point in the group
    "curate.judges", or "module:function".
    """
    config = Path(name) / "config.json"
    if config.is_file():
        try:
            values = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RewardError(f"{config} is not JSON ({error}).") from error
        if "torchvision" in values:
            return _from_torchvision(name, values)
        return _from_transformers(name)
    brought = {point.name: point for point in entry_points(group=GROUP)}
    point = brought.get(name)
    if point is None and ":" in name:
        point = EntryPoint(name=name, value=name, group=GROUP)
    if point is None:
        raise RewardError(
            f"No judge {name!r}. Name a folder with config.json and {WEIGHTS} (transformers or "
            "torchvision), a function as module:function, or an entry point in the group "
            f"{GROUP!r} (known: {', '.join(sorted(brought)) or 'none'})."
        )
    try:
        found = point.load()()
    except (ImportError, AttributeError, ValueError) as error:
        raise RewardError(
            f"The judge {name} cannot be loaded ({error}). Its module must be importable: install "
            "it, or name its folder in PYTHONPATH."
        ) from error
    if not isinstance(found, OwnJudge):
        raise RewardError(
            f"{name} returned {type(found).__name__}, not rewards.own_judge.OwnJudge."
        )
    return found


def _from_torchvision(name: str, values: Mapping[str, Any]) -> OwnJudge:
    """Return a torchvision classifier with the weights of a folder."""
    try:
        labels, kind = tuple(map(str, values["labels"])), values["kind"]
        network = torchvision.models.get_model(
            values["torchvision"], weights=None, num_classes=len(labels)
        )
        looks = Resized(
            int(values.get("side", IMAGENET_SIDE)),
            tuple(values.get("mean", IMAGENET_MEAN)),
            tuple(values.get("std", IMAGENET_STD)),
        )
        network.load_state_dict(load_file(Path(name) / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise RewardError(
            f"The torchvision judge in {name} cannot be opened ({type(error).__name__}: {error}). "
            f"It needs config.json with torchvision, kind and labels, and {WEIGHTS} with that "
            "network's weights (safetensors.torch.save_file of its state_dict)."
        ) from error
    return _judge(name, kind, labels, nn.Sequential(looks, network))


def _from_transformers(name: str) -> OwnJudge:
    """Return an image classifier that transformers saved, looking as its preprocessor says."""
    from transformers import AutoModelForImageClassification

    try:
        model, found = AutoModelForImageClassification.from_pretrained(
            name,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise RewardError(
            f"transformers cannot open the judge in {name} ({error}). Save an image classifier "
            "there with save_pretrained, as safetensors."
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise RewardError(
            f"{name} lacks weights of its network ({missing[0]} and {len(missing) - 1} more): what "
            "was never trained cannot judge. Save the whole classifier."
        )
    config = model.config
    kind = {"regression": "number", "multi_label_classification": "findings"}.get(
        config.problem_type, "number" if config.num_labels == 1 else "classes"
    )
    labels = tuple(config.id2label[place] for place in range(config.num_labels))
    grey = getattr(config, "num_channels", 3) == 1
    saved = (Path(name) / "preprocessor_config.json").is_file()
    side = None if saved else getattr(config, "image_size", IMAGENET_SIDE)
    looks = transformers_looks(name, side)
    return _judge(name, kind, labels, nn.Sequential(looks, _Logits(model, grey)))


class _Logits(nn.Module):
    """A transformers classifier's logits; one that knows grey images sees the mean of colours."""

    def __init__(self, model: nn.Module, grey: bool) -> None:
        super().__init__()
        self.model, self.grey = model, grey

    def forward(self, images_B3HW: Tensor) -> Tensor:
        seen = images_B3HW.mean(1, keepdim=True) if self.grey else images_B3HW
        logits_BL: Tensor = self.model(pixel_values=seen).logits
        return logits_BL


def _judge(name: str, kind: str, labels: tuple[str, ...], network: nn.Module) -> OwnJudge:
    """Return a network of logits as a judge."""
    network.eval().requires_grad_(False)

    def read(images_B3HW: Tensor) -> Tensor:
        logits_BL: Tensor = network(images_B3HW)
        if kind == "findings":
            return logits_BL.sigmoid()
        return logits_BL.softmax(1) if kind == "classes" else logits_BL

    return OwnJudge(name, kind, labels, read)
