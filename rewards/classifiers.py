"""Untrained networks that learn to tell classes apart. Shapes: B images, C classes."""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import SwinTransformer

from rewards.backbones import IMAGENET_SIDE, TORCHVISION
from rewards.errors import RewardError

NETWORKS = ("cnn", "swin-tiny")
WIDTHS = (32, 64, 96, 128)  # channels of the small network's four stages


def learning_device() -> torch.device:
    """Return where networks that are trained to measure learn: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def new_classifier(name: str, num_classes: int, *, seed: int) -> nn.Module:
    """Return a network with random weights: images [B, 3, H, W] in [0, 1] to logits [B, C].

    "cnn" has four convolutions of stride 2 (0.2 M weights), "swin-tiny" windows of attention on
    64 pixels (1.3 M); "torchvision/NAME" is that network at 224 pixels, for a GPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "cnn":
            return _small(num_classes)
        if name == "swin-tiny":
            swin: nn.Module = SwinTransformer(
                patch_size=[4, 4],
                embed_dim=48,
                depths=[2, 2, 2],
                num_heads=[3, 6, 12],
                window_size=[4, 4],
                stochastic_depth_prob=0.1,
                num_classes=num_classes,
            )
            return swin
        architecture = name.removeprefix(TORCHVISION)
        known = torchvision.models.list_models(module=torchvision.models)
        if not name.startswith(TORCHVISION) or architecture not in known:
            raise RewardError(
                f"No classifier {name!r}. Known: linear, {', '.join(NETWORKS)}, {TORCHVISION}NAME "
                "(swin_t, densenet121, ...)."
            )
        return nn.Sequential(
            _Square(IMAGENET_SIDE),
            torchvision.models.get_model(architecture, weights=None, num_classes=num_classes),
        )


def _small(num_classes: int) -> nn.Module:
    stages: list[nn.Module] = []
    for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
        stages += [
            nn.Conv2d(before, width, 3, stride=2, padding=1),
            nn.GroupNorm(8, width),
            nn.ReLU(),
        ]
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_classes))
    return nn.Sequential(*stages, *pooled)


class _Square(nn.Module):
    """Bring images to a square of `side` pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images_B3HW: Tensor) -> Tensor:
        square: Tensor = functional.interpolate(
            images_B3HW, (self.side, self.side), mode="bilinear", antialias=True
        )
        return square
