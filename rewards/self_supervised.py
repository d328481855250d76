"""A network that learns from images without labels: two looks at one image should be alike.

SimCLR (Chen 2020, ICML): in-batch contrast, which holds at the small batches of a laptop, where
methods without negatives collapse. Shapes: B images, D features, H x W pixels.
"""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import DenseNet

from rewards.backbones import IMAGENET_SIDE, TORCHVISION
from rewards.classifiers import learning_device
from rewards.errors import RewardError

TINY = "densenet-tiny"
TEMPERATURE = 0.2
PROJECTED = 64  # dimensions in which looks are compared
BATCH = 64
LEARNING_RATE = 1e-3


class Encoder(nn.Module):
    """Images [B, 3, H, W] in [0, 1] to features [B, D]; `project` only while it learns."""

    def __init__(self, trunk: nn.Module, num_features: int, side: int | None) -> None:
        """Take a network without its last layer."""
        super().__init__()
        self.trunk, self.side = trunk, side
        self.project = nn.Sequential(
            nn.Linear(num_features, num_features), nn.ReLU(), nn.Linear(num_features, PROJECTED)
        )

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return features."""
        if self.side is not None:
            images_B3HW = functional.interpolate(
                images_B3HW, (self.side, self.side), mode="bilinear", antialias=True
            )
        features_BD: Tensor = self.trunk(images_B3HW)
        return features_BD


def new_encoder(name: str, *, seed: int) -> Encoder:
    """Return an untrained network: "densenet-tiny", or "torchvision/NAME" of the DenseNets."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == TINY:
            densenet = DenseNet(growth_rate=12, block_config=(6, 6, 6), num_init_features=24)
            side = None
        else:
            architecture = name.removeprefix(TORCHVISION)
            known = [n for n in torchvision.models.list_models() if n.startswith("densenet")]
            if not name.startswith(TORCHVISION) or architecture not in known:
                raise RewardError(f"No network {name!r}. Known: {TINY}, {TORCHVISION}densenet121.")
            densenet = torchvision.models.get_model(architecture, weights=None)
            side = IMAGENET_SIDE
        num_features = densenet.classifier.in_features
        densenet.classifier = nn.Identity()
        return Encoder(densenet, num_features, side)


def contrast(looks_BP: Tensor, others_BP: Tensor) -> Tensor:
    """Return NT-Xent of two looks at each image: each should find its other among all 2B - 1."""
    both = functional.normalize(torch.cat([looks_BP, others_BP]), dim=1)
    logits = both @ both.T / TEMPERATURE
    logits.fill_diagonal_(-torch.inf)
    num = len(looks_BP)
    partner = torch.arange(2 * num, device=both.device).roll(num)
    return functional.cross_entropy(logits, partner)


def learn_without_labels(encoder: Encoder, images_N3HW: Tensor, *, steps: int, seed: int) -> None:
    """Train for a number of steps on images drawn by lot."""
    random, device = torch.Generator().manual_seed(seed), learning_device()
    encoder.to(device)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    encoder.train()
    for _ in range(steps):
        drawn = torch.randint(len(images_N3HW), (BATCH,), generator=random)
        looks = torch.cat([_look(images_N3HW[drawn], random) for _ in range(2)])
        one, other = encoder.project(encoder(looks.to(device))).chunk(2)
        loss = contrast(one, other)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    encoder.eval()


def _look(images_B3HW: Tensor, random: torch.Generator) -> Tensor:
    """Return a part of each image at another size, light and grain; never flipped: sides matter."""
    num = len(images_B3HW)
    scale_B = 0.6 + 0.4 * torch.rand(num, generator=random)
    shift_B2 = (2 * torch.rand(num, 2, generator=random) - 1) * (1 - scale_B)[:, None]
    maps_B23 = torch.zeros(num, 2, 3)
    maps_B23[:, 0, 0] = maps_B23[:, 1, 1] = scale_B
    maps_B23[:, :, 2] = shift_B2
    grid = functional.affine_grid(maps_B23, list(images_B3HW.shape), align_corners=False)
    seen = functional.grid_sample(images_B3HW, grid, padding_mode="border", align_corners=False)
    light = 0.8 * torch.rand(num, 2, generator=random)[..., None, None, None] - 0.4
    grain = 0.05 * torch.randn(seen.shape, generator=random)
    return (seen - 0.5) * (1 + light[:, 0]) + 0.5 + 0.5 * light[:, 1] + grain


@torch.no_grad()
def encoded(encoder: Encoder, images_N3HW: Tensor) -> Tensor:
    """Return the features [N, D] of all images."""
    encoder.to(device := learning_device()).eval()
    return torch.cat([encoder(part.to(device)) for part in images_N3HW.split(256)]).cpu()
