"""How much images of one prompt differ: MS-SSIM. In shapes: B images, C channels, H, W pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Wang, Simoncelli & Bovik 2003 (Asilomar), weights of their five scales, finest first.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5  # pixels
LUMINANCE_CONSTANT = 0.01**2  # (K1 L)^2 with range L = 1
CONTRAST_CONSTANT = 0.03**2  # (K2 L)^2


def ms_ssim(first_BCHW: Tensor, second_BCHW: Tensor, *, num_scales: int = 3) -> Tensor:
    """Return the multi-scale structural similarity of each pair, [B], 1 for equal images.

    Images are float in [0, 1]. Three scales fit 64 pixels (the coarsest is 16, the window 11);
    the weights of the scales used are renormalised to sum to 1. Negative structure counts as 0,
    as usual, since a fractional power of it has no value.
    """
    if first_BCHW.shape != second_BCHW.shape or first_BCHW.ndim != 4:
        raise ValueError(f"two equal [B, C, H, W], found {first_BCHW.shape}, {second_BCHW.shape}")
    coarsest = min(first_BCHW.shape[2:]) // 2 ** (num_scales - 1)
    if coarsest < WINDOW_SIZE or not 1 <= num_scales <= len(SCALE_WEIGHTS):
        raise ValueError(f"{num_scales} scales leave {coarsest} pixels, below {WINDOW_SIZE}")
    weights = torch.tensor(SCALE_WEIGHTS[:num_scales], dtype=first_BCHW.dtype)
    weights = weights / weights.sum()
    first, second = first_BCHW, second_BCHW
    similarity_BC = first.new_ones(first.shape[:2])
    for scale, weight in enumerate(weights.tolist()):
        ssim_BC, structure_BC = ssim_parts(first, second)
        part_BC = ssim_BC if scale == num_scales - 1 else structure_BC
        similarity_BC = similarity_BC * part_BC.clamp(min=0) ** weight
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    return similarity_BC.mean(1)


def ssim_parts(first_BCHW: Tensor, second_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM and its contrast-structure part, [B, C] each, averaged over window places.

    Wang, Bovik, Sheikh & Simoncelli 2004 (IEEE TIP 13:600): a Gaussian window of 11 pixels with
    sigma 1.5, only where it fits whole.
    """
    mean_1, mean_2 = _window_mean(first_BCHW), _window_mean(second_BCHW)
    variance_1 = _window_mean(first_BCHW**2) - mean_1**2
    variance_2 = _window_mean(second_BCHW**2) - mean_2**2
    covariance = _window_mean(first_BCHW * second_BCHW) - mean_1 * mean_2
    structure = (2 * covariance + CONTRAST_CONSTANT) / (variance_1 + variance_2 + CONTRAST_CONSTANT)
    luminance = (2 * mean_1 * mean_2 + LUMINANCE_CONSTANT) / (
        mean_1**2 + mean_2**2 + LUMINANCE_CONSTANT
    )
    return (luminance * structure).mean((2, 3)), structure.mean((2, 3))


def _window_mean(images_BCHW: Tensor) -> Tensor:
    offsets = torch.arange(WINDOW_SIZE, dtype=images_BCHW.dtype) - WINDOW_SIZE // 2
    window = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    window = window / window.sum()
    batch, channels, height, width = images_BCHW.shape
    flat = images_BCHW.reshape(batch * channels, 1, height, width)
    rows = F.conv2d(flat, window.view(1, 1, -1, 1))
    both = F.conv2d(rows, window.view(1, 1, 1, -1))
    return both.reshape(batch, channels, *both.shape[2:])


def vendi_score(unit_ND: Tensor) -> float:
    """Return the effective number of different items among N, 1 .. N, by features of length 1.

    The exponential of the entropy of the eigenvalues of the cosine kernel over N (Friedman & Dieng
    2023, TMLR).
    """
    kernel = unit_ND.double() @ unit_ND.double().T / len(unit_ND)
    shares = torch.linalg.eigvalsh(kernel).clamp(min=0)
    return float(torch.special.entr(shares).sum().exp())
