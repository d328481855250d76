"""Where a reward model looks: the pixels whose change moves the score most.

Shapes: B images, H x W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rewards.conditioning import Conditioning
from rewards.model import RewardModel

NUM_NOISY, NOISE = 8, 0.03  # copies of an image, and their noise, in intensities of [0, 1]
BLUR = 1 / 16  # of the side: single pixels say more of the network than of the image


def saliency(
    model: RewardModel,
    images_B3HW: Tensor,
    modalities: Sequence[str],
    texts: Sequence[str],
    given: Sequence[Conditioning] = (),
) -> Tensor:
    """Return maps [B, H, W] in [0, 1], 1 where the score's gradient is largest.

    Gradients are averaged over noisy copies (SmoothGrad, Smilkov et al. 2017). The logarithm of
    the odds is differentiated: a sure score has no gradient of its own.
    """
    chance = torch.Generator().manual_seed(0)
    total_BHW = torch.zeros_like(images_B3HW[:, 0])
    for _ in range(NUM_NOISY):
        noise = NOISE * torch.randn(images_B3HW.shape, generator=chance)
        pixels = (images_B3HW + noise).clamp(0, 1).requires_grad_(True)
        mean_B, _ = model.predict(pixels, modalities, texts, given)
        (slope,) = torch.autograd.grad(torch.logit(mean_B, eps=1e-4).sum(), pixels)
        total_BHW = total_BHW + slope.abs().sum(1)
    side = 2 * max(1, round(BLUR * min(images_B3HW.shape[2:]))) + 1
    smooth = functional.avg_pool2d(total_BHW[:, None], side, 1, side // 2, count_include_pad=False)[
        :, 0
    ]
    low = smooth.amin((1, 2), keepdim=True)
    return (smooth - low) / (smooth.amax((1, 2), keepdim=True) - low).clamp(min=1e-12)
