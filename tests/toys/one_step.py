"""A family of another package that makes a picture in one step, as a GAN does: no trajectory."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.base import Conditions, Output, Prompt
from generators.config import SamplingSettings
from generators.diffusion.samplers import initial_noise

SIDE = 16


class OneStep:
    """Noise through one convolution to a picture; how bright depends on the text."""

    family = "toy-one-step"
    reads: frozenset[str] = frozenset()
    output = Output("intensity", (1, SIDE, SIDE))

    def __init__(self, network: nn.Conv2d | nn.Conv3d) -> None:
        """Take the network that makes pictures."""
        self.network = network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.network.weight.device

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return a number of each text's own."""
        numbers = torch.tensor([[sum(prompt.text.encode()) % 7 / 7] for prompt in prompts])
        return Conditions.of(pooled=numbers.to(self.device))

    @torch.inference_mode()
    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        """Return pictures [B, 1, SIDE, SIDE] in 0 .. 1, one at a time: no batch shape matters."""
        noise = initial_noise(seeds, (1, SIDE, SIDE)).to(self.device)
        shift = conditions.parts["pooled"][:, :, None, None]
        return torch.cat([self.network(one[None]) for one in noise]).add(shift).sigmoid()

    def to(self, device: torch.device | str) -> "OneStep":
        """Move the weights."""
        self.network.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write the weights and whose they are."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / "network.safetensors")
        (folder / "model_index.json").write_text(json.dumps({"family": self.family}))


def load(folder: str | Path) -> OneStep:
    """Open what `save` wrote."""
    network = nn.Conv2d(1, 1, 3, padding=1)
    network.load_state_dict(load_file(Path(folder) / "network.safetensors"))
    return OneStep(network)
