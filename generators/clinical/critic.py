"""What tells made images from real ones in a training against a critic; it never rates or measures.

Shapes: B images, C image channels, M mask labels; `*spatial` is H x W or D x H x W.
"""

from collections.abc import Sequence

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from generators.clinical.network import CONVOLUTIONS

SLOPE = 0.2  # of leaky ReLU


class PatchCritic(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Says of each part of an image whether it is real, seen beside its mask (Isola et al. 2017).

    Without normalisation, unlike there: it would hide how dense a whole patch is.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, dims: int, labels: int, widths: Sequence[int], channels: int = 1) -> None:
        """Build it: each of `widths` halves the sides."""
        super().__init__()
        convolution, layers = CONVOLUTIONS[dims], list[nn.Module]()
        before = channels + labels
        for width in widths:
            layers += [convolution(before, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.conv_out = convolution(before, 1, 3, padding=1)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return [B, 1, *parts], near 1 where an image looks real beside its mask."""
        answer: Tensor = self.conv_out(self.layers(torch.cat([images, masks], dim=1)))
        return answer
