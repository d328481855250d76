"""How near a translated picture is to the true one. Shapes: B pictures, H x W pixels, 0 .. 1."""

import torch
from torch import Tensor
from torch.nn import functional

SIGMA, REACH = 1.5, 5  # of SSIM's Gaussian window, in pixels: 11 x 11 (Wang et al. 2004)
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
GMSD_C = 170 / 255**2  # Xue et al. 2014, for 0 .. 1


def ssim_maps(first_BHW: Tensor, second_BHW: Tensor) -> Tensor:
    """Return structural similarity at each pixel [B, H, W], borders mirrored."""
    reach = min(REACH, *(side - 1 for side in first_BHW.shape[1:]))
    places = torch.arange(-reach, reach + 1, dtype=first_BHW.dtype)
    window = torch.exp(-places.square() / (2 * SIGMA**2))
    window = window / window.sum()

    def blurred(image_BHW: Tensor) -> Tensor:
        padded = functional.pad(image_BHW[:, None], (reach,) * 4, mode="reflect")
        down = functional.conv2d(padded, window.view(1, 1, -1, 1))
        return functional.conv2d(down, window.view(1, 1, 1, -1))[:, 0]

    x, y = blurred(first_BHW), blurred(second_BHW)
    xx = blurred(first_BHW.square()) - x.square()
    yy = blurred(second_BHW.square()) - y.square()
    xy = blurred(first_BHW * second_BHW) - x * y
    alike = (2 * x * y + SSIM_C1) * (2 * xy + SSIM_C2)
    return alike / ((x.square() + y.square() + SSIM_C1) * (xx + yy + SSIM_C2))


def ssim(first_BHW: Tensor, second_BHW: Tensor) -> Tensor:
    """Return the mean structural similarity [B]; as scikit-image, windows stay inside."""
    maps = ssim_maps(first_BHW, second_BHW)
    reach = min(REACH, *((side - 1) // 2 for side in maps.shape[1:]))
    height, width = maps.shape[1:]
    return maps[:, reach : height - reach, reach : width - reach].flatten(1).mean(dim=1)


def squared_error(first_BHW: Tensor, second_BHW: Tensor) -> Tensor:
    """Return the mean squared error [B]."""
    return (first_BHW - second_BHW).square().flatten(1).mean(dim=1)


def psnr(first_BHW: Tensor, second_BHW: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio [B] in dB, for a peak of 1."""
    return -10 * torch.log10(squared_error(first_BHW, second_BHW).clamp_min(1e-12))


def gradient_deviation(first_BHW: Tensor, second_BHW: Tensor) -> Tensor:
    """Return GMSD [B], the deviation of gradient magnitude similarity: 0 where edges agree."""
    across = torch.tensor([[1.0, 0, -1]] * 3, dtype=first_BHW.dtype) / 3
    kernels = torch.stack([across, across.T])[:, None]

    def magnitude(image_BHW: Tensor) -> Tensor:
        halved = functional.avg_pool2d(image_BHW[:, None], 2)
        squares = functional.conv2d(halved, kernels, padding=1).square().sum(dim=1)
        return squares.clamp_min(1e-20).sqrt()

    first, second = magnitude(first_BHW), magnitude(second_BHW)
    alike = (2 * first * second + GMSD_C) / (first.square() + second.square() + GMSD_C)
    return alike.flatten(1).std(dim=1, unbiased=False)


def dice(first_BHW: Tensor, second_BHW: Tensor, label: int) -> Tensor:
    """Return the overlap of a class [B]: 1 where neither has it."""
    first, second = (first_BHW == label).flatten(1), (second_BHW == label).flatten(1)
    total = first.sum(dim=1) + second.sum(dim=1)
    both = 2 * (first & second).sum(dim=1)
    return torch.where(total > 0, both / total.clamp_min(1), torch.ones(len(total)))
