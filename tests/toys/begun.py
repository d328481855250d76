"""A family of another package that can be begun: volumes in HU that follow a mask, denoised."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from generators.base import Conditions, Denoiser, Entries, Prompt
from generators.beginning import Beginning
from generators.codec import PixelCodec
from generators.config import setting
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import read_process
from generators.training.config import TrainingConfig

SCHEDULE = {"_class_name": "DDIMScheduler", "num_train_timesteps": 100, "clip_sample": False}
TRAINING = TrainingConfig(num_steps=3, batch_size=2, learning_rate=1e-2, warmup_steps=0)


@dataclass(frozen=True)
class Settings:
    """What a user may say."""

    width: int = setting(4, "Channels inside.")
    patch: tuple[int, ...] = setting((4, 4, 4), "Depth, height and width that are trained on.")
    low: float | None = setting(None, "Lowest HU.")


class Network(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Two convolutions."""

    @register_to_config
    def __init__(self, width: int, patch: list[int], low: float, labels: list[int]) -> None:
        """Make them."""
        super().__init__()
        self.first = nn.Conv3d(1 + len(labels), width, 3, padding=1)
        self.last = nn.Conv3d(width, 1, 3, padding=1)

    def forward(self, x_t: Tensor) -> Tensor:
        """Return the prediction."""
        prediction: Tensor = self.last(self.first(x_t).relu())
        return prediction


class NetworkDenoiser(Denoiser):
    """The network, told nothing but channels."""

    def ask(self, x_t: Tensor, t_B: Tensor, parts: object) -> Tensor:
        """Return the prediction."""
        prediction: Tensor = self.network(x_t)
        return prediction


class MaskConditioner:
    """One channel a label."""

    def __init__(self, labels: Sequence[int], patch: Sequence[int]) -> None:
        """Take the labels."""
        self.labels, self.patch = list(labels), list(patch)

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return channels [B, labels, D, H, W]."""
        masks = [torch.from_numpy(p.images["mask"].array[0].astype("int64")) for p in prompts]
        return Conditions.of(
            channels=torch.stack(
                [torch.stack([(mask == n).float() for n in self.labels]) for mask in masks]
            )
        )

    def unconditional(self, count: int) -> Conditions:
        """Return no mask."""
        return Conditions.of(channels=torch.zeros(count, len(self.labels), *self.patch))

    def to(self, device: torch.device | str) -> "MaskConditioner":
        """Return itself."""
        return self

    def save(self, folder: Path) -> Entries:
        """Write nothing."""
        return {}


def create(settings: Settings, beginning: Beginning) -> DiffusionGenerator:
    """Begin one for the labels that the examples' masks have."""
    labels = sorted(
        {int(n) for _, p in beginning.examples for n in set(p.images["mask"].array.flat)}
    )
    torch.manual_seed(beginning.seed)
    low = -1000.0 if settings.low is None else settings.low
    return _generator(Network(settings.width, list(settings.patch), low, labels))


def load(folder: str | Path) -> DiffusionGenerator:
    """Open what `save` wrote."""
    json.loads((Path(folder) / "model_index.json").read_text())
    return _generator(Network.from_pretrained(Path(folder) / "unet", use_safetensors=True))


def _generator(network: Network) -> DiffusionGenerator:
    return DiffusionGenerator(
        family="toy-begun",
        conditioner=MaskConditioner(network.config.labels, network.config.patch),
        denoiser=NetworkDenoiser(network.eval().requires_grad_(False)),
        codec=PixelCodec("HU", (network.config.low, 1000.0)),
        process=read_process(SCHEDULE),
        latent_shape=(1, *network.config.patch),
        reads=frozenset({"mask"}),
    )
