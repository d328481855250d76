"""The encoder, asked at every level: fine texture shows in early layers, anatomy in late ones.

Shapes: B images, D features.
"""

import torch
from torch import Tensor, nn

from rewards.frozen.architectures import GatedNetwork, with_detail
from rewards.frozen.data import to_side
from rewards.frozen.networks import FeatureExtractor


class EveryLevel(nn.Module):
    """Means and spreads of every layer's channels, then the features themselves: [B, 1040]."""

    def __init__(self, encoder: FeatureExtractor) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return features [B, D] of images in [0, 1] of any size."""
        network = self.encoder.backbone
        assert isinstance(network, GatedNetwork)
        x = with_detail(to_side(images_B3HW))
        levels = []
        for block in network.blocks:
            x = block(x)
            levels += [x.mean(dim=(2, 3)), (x.var(dim=(2, 3), unbiased=False) + 1e-4).sqrt()]
        features: Tensor = network.project(torch.cat(levels[-2:], dim=1))
        return torch.cat([*levels, (features - self.encoder.mean) / self.encoder.spread], dim=1)
