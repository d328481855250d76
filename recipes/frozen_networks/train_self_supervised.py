"""Teach the encoder (B) and the feature network (D) from pixels alone.

Everything here takes arrays of pixels: no modality, no finding, no table. The encoder learns to
know an image again in another view (VICReg, Bardes et al. 2022) and to say what corruption was
applied to it; the feature network only to know an image again (SimCLR, Chen et al. 2020).
Shapes: B images of a step, D numbers of a projection.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.frozen_networks.train_truth import Progress, warm_cosine
from rewards.frozen.config import TrainingSettings
from rewards.frozen.corruptions import KINDS, corrupt
from rewards.frozen.data import Pixels
from rewards.frozen.files import average_of
from rewards.frozen.views import real_views

SMALLEST_CROP = 0.6  # of the canvas's side: stronger crops than any prompt would ask for
SIMCLR_TEMPERATURE = 0.2
PROJECTION = 128


class EncoderTask(nn.Module):
    """The encoder with what its lesson needs on top; only `backbone` ships."""

    def __init__(self, backbone: nn.Module, dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = _projector(dim)
        self.kind_head = nn.Linear(dim, len(KINDS))
        self.severity_head = nn.Linear(dim, 1)

    def loss(self, canvases: Sequence[Pixels], generator: torch.Generator) -> Tensor:
        """VICReg on two views, and kind and severity of the corruption of a third."""
        first, second = _two_views(canvases, generator)
        corrupted = corrupt(first, first.roll(1, dims=0), generator)
        features = _autocast(self.backbone, torch.cat([first, second, corrupted.images]))
        views_a, views_b, _ = self.projector(features).chunk(3)
        clean, _, spoiled = features.chunk(3)
        severity = self.severity_head(torch.cat([clean, spoiled]))[:, 0]
        wanted = torch.cat([torch.zeros(len(canvases)), corrupted.severities])
        kind = functional.cross_entropy(self.kind_head(spoiled), corrupted.kinds)
        wrong = functional.smooth_l1_loss(severity, wanted, beta=0.5)
        return vicreg_loss(views_a, views_b) + 0.5 * kind + 2.0 * wrong


class FeatureTask(nn.Module):
    """The feature network with its projector; only `backbone` ships."""

    def __init__(self, backbone: nn.Module, dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = _projector(dim)

    def loss(self, canvases: Sequence[Pixels], generator: torch.Generator) -> Tensor:
        """SimCLR on two views of each image."""
        views = torch.cat(_two_views(canvases, generator))
        return simclr_loss(self.projector(_autocast(self.backbone, views)))


def train_from_pixels(
    task: EncoderTask | FeatureTask,
    canvases: Sequence[Pixels],
    settings: TrainingSettings,
    progress: Progress,
) -> nn.Module:
    """Train on these pixels, every image equally often; returns the averaged backbone."""
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(
        task.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = copy.deepcopy(task.backbone.state_dict())
    task.train()
    for step in range(settings.num_steps):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * warm_cosine(step, settings)
        places = torch.randperm(len(canvases), generator=generator)[: settings.num_pairs]
        loss = task.loss([canvases[p] for p in places.tolist()], generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimiser.step()
        weights = task.backbone.state_dict()
        average_of(average, weights, min(settings.average_decay, step / (step + 10)))
        if step % 200 == 0:
            progress(f"step {step}: loss {loss:.3f}")
    trained = copy.deepcopy(task.backbone)
    trained.load_state_dict(average)
    return trained.eval()


def vicreg_loss(a_BD: Tensor, b_BD: Tensor) -> Tensor:
    """Equal views, every number in use (standard deviation 1), no two numbers alike."""
    invariance = functional.mse_loss(a_BD, b_BD)
    spread = sum((1 - (x.var(dim=0) + 1e-4).sqrt()).clamp(min=0).mean() for x in (a_BD, b_BD))
    alike = sum(_off_diagonal_squares(x) for x in (a_BD, b_BD))
    return invariance + 0.5 * spread + 0.04 * alike


def simclr_loss(projected_2BD: Tensor) -> Tensor:
    """Cross-entropy of finding the other view of the same image among all views."""
    unit = functional.normalize(projected_2BD, dim=1)
    similarity = unit @ unit.T / SIMCLR_TEMPERATURE
    similarity = similarity.masked_fill(torch.eye(len(unit), dtype=torch.bool), -1e4)
    count = len(unit) // 2
    other_view = torch.arange(2 * count).roll(count)
    return functional.cross_entropy(similarity, other_view)


def _off_diagonal_squares(x_BD: Tensor) -> Tensor:
    centred = x_BD - x_BD.mean(dim=0)
    covariance_DD = centred.T @ centred / (len(x_BD) - 1)
    off_diagonal = covariance_DD - covariance_DD.diag().diag()
    return off_diagonal.square().sum() / x_BD.shape[1]


def _projector(dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(dim, 2 * PROJECTION, bias=False),
        nn.BatchNorm1d(2 * PROJECTION),
        nn.ReLU(),
        nn.Linear(2 * PROJECTION, PROJECTION),
    )


def _two_views(canvases: Sequence[Pixels], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    first = real_views(canvases, generator, smallest_crop=SMALLEST_CROP)
    return first, real_views(canvases, generator, smallest_crop=SMALLEST_CROP)


def _autocast(backbone: Callable[[Tensor], Tensor], images_BCHW: Tensor) -> Tensor:
    images = images_BCHW.to(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16):
        return backbone(images).float()
