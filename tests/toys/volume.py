"""A family of another package that makes volumes in Hounsfield units, in one step."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from generators.base import Conditions, Output
from generators.config import SamplingSettings
from generators.diffusion.samplers import initial_noise
from tests.toys.one_step import OneStep

SHAPE = (1, 6, 16, 16)  # C, D, H, W


class Volume(OneStep):
    """Noise through one convolution to -1000 .. 1000 HU; how dense depends on the text."""

    family = "toy-volume"
    output = Output("HU", SHAPE)

    @torch.inference_mode()
    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        """Return volumes [B, *SHAPE] in HU, one at a time: no batch shape matters."""
        noise = initial_noise(seeds, SHAPE).to(self.device)
        shift = conditions.parts["pooled"][:, :, None, None, None]
        return torch.cat([self.network(one[None]) for one in noise]).add(shift).tanh() * 1000


def load(folder: str | Path) -> Volume:
    """Open what `save` wrote."""
    network = nn.Conv3d(1, 1, 3, padding=1)
    network.load_state_dict(load_file(Path(folder) / "network.safetensors"))
    return Volume(network)
