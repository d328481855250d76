"""How alike two images of different contrast are, pixel by pixel and as a whole.

Local mutual information compares the patch around a pixel with the patches around its neighbours in
the other image and keeps the best score (MIDiffusion). Two estimators: soft histograms as
published, and Renyi's entropy of order 2 from pairs of a patch's pixels, which needs no bins.
Shapes: B images of one channel, H x W pixels, P = patch side, odd; intensities are 0 .. 1, beyond
it where an image is noisy. Borders are mirrored.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 255.0  # widths and bins are told in grey levels, as published
# of kernels, in grey levels: the published 2 sigma^2 with sigma 2, used as a deviation; and
# what agrees best with its maps (benchmarks/translation/maps.py)
WIDTHS = {"histogram": 8.0, "renyi": 16.0}
FLAT = 1e-6  # bits: a patch without contrast shares no information; without it 0 / 0
CHUNK_BYTES = 64 * 2**20


def local_mutual_information(
    source_B1HW: Tensor,
    target_B1HW: Tensor,
    patch: int = 3,
    *,
    estimator: str = "renyi",
    width: float | None = None,
    normalised: bool = True,
    rows: int | None = None,
) -> Tensor:
    """Return [B, 1, H, W]: shared bits, or 2 MI / (H1 + H2), of the best of P x P shifted patches.

    `estimator` is "renyi" or "histogram", `width` its kernel's in grey levels (16 and 8). Rows are
    computed in bands of `rows`, as many as fit into 64 MiB: the result does not depend on it.
    """
    if patch < 3 or patch % 2 == 0:
        raise ValueError(f"a patch of {patch}: give an odd number, 3 or more")
    if source_B1HW.shape != target_B1HW.shape or source_B1HW.shape[1] != 1:
        raise ValueError(f"maps of {[*source_B1HW.shape]} and {[*target_B1HW.shape]}: B, 1, H, W")
    estimate, per_pixel = {
        "renyi": (_renyi_entropies, 4 * patch**2),
        "histogram": (_histogram_entropies, 2 * patch**6),
    }[estimator]
    width = width or WIDTHS[estimator]
    num, _, height, length = source_B1HW.shape
    radius = patch // 2
    source, target = (
        _mirrored_margin(image, margin) * LEVELS
        for image, margin in ((source_B1HW, radius), (target_B1HW, 2 * radius))
    )
    rows = rows or max(1, CHUNK_BYTES // (4 * per_pixel * num * length))
    bands = []
    for top in range(0, height, rows):
        end = min(top + rows, height)
        h_source, h_target, h_joint = estimate(
            source[:, :, top : end + 2 * radius], target[:, :, top : end + 4 * radius], patch, width
        )
        shared = h_source + h_target - h_joint
        if normalised:
            shared = 2 * shared / (h_source + h_target + FLAT)
        bands.append(shared.amax(dim=1, keepdim=True))
    return torch.cat(bands, dim=2)


def _mirrored_margin(image_BCHW: Tensor, margin: int) -> Tensor:
    """Return the images with `margin` more pixels all round, mirrored at the outermost ones.

    As reflect padding, but the margin may be wider than the image: it is mirrored again.
    """
    for axis in (2, 3):
        side = image_BCHW.shape[axis]
        period = max(1, 2 * (side - 1))
        places = torch.arange(-margin, side + margin, device=image_BCHW.device).abs() % period
        image_BCHW = image_BCHW.index_select(axis, torch.minimum(places, period - places))
    return image_BCHW


def _shifts(patch: int) -> Iterator[tuple[int, int]]:
    """Yield where the top left corners of the P x P patches of a neighbourhood are."""
    yield from ((y, x) for y in range(patch) for x in range(patch))


def _renyi_entropies(
    source: Tensor, target: Tensor, patch: int, width: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return bits of the source's patches [B, 1, ...], of the target's and of both [B, P * P, ...].

    H2(X) = -log2 mean_ij exp(-(x_i - x_j)^2 / (4 width^2)); jointly, the product of both kernels.
    All in grey levels. Equal pairs count once: for each displacement inside a patch one map of
    kernels, of which a patch sums a window. `source` has a margin of P // 2 around what is
    returned, and `target` one of 2 (P // 2).
    """
    sums: list[Tensor | float] = [0.0, 0.0, 0.0]
    for dy, dx in (
        (y, x) for y in range(patch) for x in range(1 - patch, patch) if (y, x) > (0, 0)
    ):
        window = (patch - dy, patch - abs(dx))
        left, right = max(0, -dx), max(0, dx)
        of_source, of_target = (
            torch.exp(
                -(
                    (
                        image[:, :, : image.shape[2] - dy, left : image.shape[3] - right]
                        - image[:, :, dy:, right : image.shape[3] - left]
                    )
                    / (2 * width)
                ).square()
            )
            for image in (source, target)
        )
        tall, long = of_source.shape[2:]
        around = torch.cat(
            [of_target[:, :, y : y + tall, x : x + long] for y, x in _shifts(patch)], dim=1
        )
        for place, kernels in enumerate((of_source, of_target, of_source * around)):
            sums[place] = sums[place] + window[0] * window[1] * functional.avg_pool2d(
                kernels, window, stride=1
            )
    h_source, h_target, h_joint = (
        -torch.log2((patch**2 + 2 * torch.as_tensor(total).to(source)) / patch**4) for total in sums
    )
    height, length = h_source.shape[2:]
    moved = [h_target[:, :, y : y + height, x : x + length] for y, x in _shifts(patch)]
    return h_source, torch.cat(moved, dim=1), h_joint


def _histogram_entropies(
    source: Tensor, target: Tensor, patch: int, width: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `_renyi_entropies` does, from soft histograms of P^3 bins, as published.

    p(b) is the normalised mean of exp(-(x - c_b)^2 / (2 width^2)) over a patch, and jointly the
    normalised mean of products. Centres lie evenly over the grey levels.
    """
    num, _, tall, long = source.shape
    height, length = tall - patch + 1, long - patch + 1
    centres = torch.linspace(0, LEVELS, patch**3, device=source.device, dtype=source.dtype)

    def patches(image: Tensor) -> Tensor:  # [B * N, P * P]
        return functional.unfold(image, patch).transpose(1, 2).reshape(-1, patch**2)

    def entropy(weights: Tensor) -> Tensor:  # of [B * N, ...] that need not sum to 1
        weights = weights.flatten(1)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-30)
        bits = -(shares * torch.log2(shares.clamp_min(1e-30))).sum(dim=1)
        return bits.view(num, 1, height, length)

    def kernels(values: Tensor) -> Tensor:  # [B * N, P * P, bins]
        # noise beyond the grey levels counts as black or white, not as nothing
        values = values.clamp(0, LEVELS)[..., None]
        return torch.exp(-((values - centres) / width).square() / 2)

    of_source = kernels(patches(source))
    h_target, h_joint = [], []
    for y, x in _shifts(patch):
        of_target = kernels(patches(target[:, :, y : y + tall, x : x + long]))
        h_target.append(entropy(of_target.sum(dim=1)))
        h_joint.append(entropy(of_source.transpose(1, 2) @ of_target))
    return entropy(of_source.sum(dim=1)), torch.cat(h_target, dim=1), torch.cat(h_joint, dim=1)


def mutual_information(
    first_BHW: Tensor, second_BHW: Tensor, *, bins: int = 32, normalised: bool = True
) -> Tensor:
    """Return [B] of whole images, whatever their shapes are beside B: 2 MI / (H1 + H2), or bits.

    Soft histograms over 0 .. 1 whose kernels are so narrow (an eighth of a bin) that hard bins give
    nearly the same; each pixel weighs 1. Differentiable in both images.
    """

    def kernels(image: Tensor) -> Tensor:  # [B, N, bins]
        centres = (torch.arange(bins, device=image.device) + 0.5) / bins
        values = image.flatten(1).clamp(0, 1)[..., None]
        return torch.softmax(-(((values - centres) * 8 * bins).square()) / 2, dim=-1)

    def entropy(shares: Tensor) -> Tensor:
        return -(shares * torch.log2(shares.clamp_min(1e-30))).flatten(1).sum(dim=1)

    first, second = kernels(first_BHW), kernels(second_BHW)
    joint = first.transpose(1, 2) @ second / first.shape[1]
    h_first, h_second = entropy(joint.sum(dim=2)), entropy(joint.sum(dim=1))
    shared = h_first + h_second - entropy(joint)
    return 2 * shared / (h_first + h_second + FLAT) if normalised else shared


def self_similarity(image_B1HW: Tensor, patch: int = 3) -> Tensor:
    """Return [B, P * P - 1, H, W] in 0 .. 1: MIND (Heinrich et al. 2012), whatever the contrast.

    exp(-D / V) for each neighbour: D is the mean squared difference of its patch to the pixel's, V
    the mean of D over the neighbours; the most alike is 1. Where all is flat all are 1.
    """
    radius = patch // 2
    height, length = image_B1HW.shape[2:]
    image = _mirrored_margin(image_B1HW, 2 * radius)
    tall, long = height + 2 * radius, length + 2 * radius
    here = image[:, :, radius : radius + tall, radius : radius + long]
    distances = torch.cat(
        [
            functional.avg_pool2d(
                (image[:, :, y : y + tall, x : x + long] - here).square(), patch, stride=1
            )
            for y, x in _shifts(patch)
            if (y, x) != (radius, radius)
        ],
        dim=1,
    )
    noise = distances.mean(dim=1, keepdim=True)
    # a hundredth of a grey level: below it a difference is rounding, and no structure
    alike = torch.exp(-distances / (noise + (0.01 / LEVELS) ** 2))
    return alike / alike.amax(dim=1, keepdim=True)
