"""Ways in which an image goes wrong, each with a strength in [0, 1] and a severity.

They stand in for what a small diffusion model and its autoencoder do wrong: soft or smeared detail,
noise, blocks, wrong anatomy, two images in one, wrong exposure, too much sharpening.
Shapes: B images, H = W pixels, RGB in [0, 1]; `partners` are other images of the batch. Lengths
grow with the side, so that a fault of one strength looks the same on every canvas.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Corruption = Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Corrupted:
    """Corrupted images and what was done to them."""

    images: Tensor  # [B, 3, H, W]
    kinds: Tensor  # [B], places in `KINDS`
    severities: Tensor  # [B], 0 = untouched, about 3 = beyond use


def blurred(images: Tensor, partners: Tensor, strength_B: Tensor, _: torch.Generator) -> Tensor:
    """Gaussian blur, sigma up to 2.5 pixels of 64."""
    return gaussian_blur(images, 2.5 * images.shape[-1] / 64 * strength_B)


def gaussian_blur(images_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Blur each image with its own sigma, in pixels."""
    count, channels, height, width = images_BCHW.shape
    reach = max(7, min(3 * round(float(sigma_B.max())), min(height, width) - 1))
    offsets_K = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernels_BK = torch.exp(-0.5 * (offsets_K / sigma_B.clamp(min=0.05)[:, None]) ** 2)
    kernels_BK = kernels_BK / kernels_BK.sum(dim=1, keepdim=True)
    weights_NK = kernels_BK.repeat_interleave(channels, dim=0)
    flat = functional.pad(images_BCHW.reshape(1, -1, height, width), (reach,) * 4, mode="reflect")
    flat = functional.conv2d(flat, weights_NK[:, None, :, None], groups=count * channels)
    flat = functional.conv2d(flat, weights_NK[:, None, None, :], groups=count * channels)
    return flat.reshape(images_BCHW.shape)


def noisy(images: Tensor, partners: Tensor, strength_B: Tensor, g: torch.Generator) -> Tensor:
    """White Gaussian noise, standard deviation up to 0.25; grey on half of the images."""
    return images + 0.25 * _per_image(strength_B) * _gray_or_colour(images, images.shape[-1], g)


def blotched(images: Tensor, partners: Tensor, strength_B: Tensor, g: torch.Generator) -> Tensor:
    """Noise with a grain of 2, 4 or 8 pixels of 64, as a latent gone wrong decodes to."""
    side = 64 // int(2 ** torch.randint(1, 4, (1,), generator=g))
    grain = _gray_or_colour(images, side, g)
    grain = functional.interpolate(grain, images.shape[-2:], mode="bicubic", align_corners=False)
    return images + 0.28 * _per_image(strength_B) * grain


def coarse(images: Tensor, partners: Tensor, strength_B: Tensor, _: torch.Generator) -> Tensor:
    """Made small (down to a fifth of the side) and large again."""
    size = images.shape[-1]
    result = torch.empty_like(images)
    for place, strength in enumerate(strength_B.tolist()):
        small = functional.interpolate(
            images[place : place + 1], (round(size * (1 - 0.8 * strength)),) * 2, mode="area"
        )
        result[place] = functional.interpolate(
            small, (size, size), mode="bicubic", align_corners=False
        )[0]
    return result


def blocky(images: Tensor, partners: Tensor, strength_B: Tensor, _: torch.Generator) -> Tensor:
    """8 x 8 cosine blocks, coefficients rounded as a JPEG does, fine detail first."""
    basis_KK = cosine_basis(8)
    count, channels, height, width = images.shape
    blocks = images.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = basis_KK @ blocks @ basis_KK.T
    frequency_KK = torch.arange(8.0)[:, None] + torch.arange(8.0)[None, :]
    step = 0.09 * strength_B[:, None, None, None, None, None] * (1 + frequency_KK)
    rounded = (coefficients / step.clamp(min=1e-4)).round() * step.clamp(min=1e-4)
    return (basis_KK.T @ rounded @ basis_KK).transpose(3, 4).reshape(images.shape)


def smeared(images: Tensor, partners: Tensor, strength_B: Tensor, _: torch.Generator) -> Tensor:
    """Like watercolour: medians of 3 x 3 pixels (5 x 5 of 128), taken twice, blended in."""
    reach = max(1, images.shape[-1] // 64)
    window = 2 * reach + 1
    smeared_images = images
    for _round in range(2):
        patches = functional.unfold(
            functional.pad(smeared_images, (reach,) * 4, mode="reflect"), kernel_size=window
        )
        patches = patches.reshape(*images.shape[:2], window**2, *images.shape[-2:])
        smeared_images = patches.median(dim=2).values
    return torch.lerp(images, smeared_images, _per_image(strength_B))


def shuffled(images: Tensor, partners: Tensor, strength_B: Tensor, g: torch.Generator) -> Tensor:
    """Square patches (a quarter or an eighth of the side) in one another's places."""
    cells = int(4 * 2 ** torch.randint(0, 2, (1,), generator=g))
    count, channels, height, _ = images.shape
    side = height // cells
    patches = images.reshape(count, channels, cells, side, cells, side)
    patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(count, cells**2, channels, side, side)
    result = patches.clone()
    for place, strength in enumerate(strength_B.tolist()):
        moved = torch.randperm(cells**2, generator=g)[: max(2, round(strength * cells**2))]
        result[place, moved] = patches[place, moved.roll(1)]
    result = result.reshape(count, cells, cells, channels, side, side)
    return result.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def warped(images: Tensor, partners: Tensor, strength_B: Tensor, g: torch.Generator) -> Tensor:
    """Elastic warp, displacements up to some 8 pixels on a grid of 4 to 8 points."""
    count, _, height, width = images.shape
    points = int(torch.randint(4, 9, (1,), generator=g))
    shifts = torch.randn(count, 2, points, points, generator=g)
    shifts = functional.interpolate(shifts, (height, width), mode="bicubic", align_corners=True)
    identity = torch.eye(2, 3).expand(count, 2, 3)
    grid = functional.affine_grid(identity, [count, 3, height, width], align_corners=False)
    grid = grid + 0.14 * strength_B[:, None, None, None] * shifts.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def blended(images: Tensor, partners: Tensor, strength_B: Tensor, _: torch.Generator) -> Tensor:
    """Another image shines through, by up to a half."""
    return torch.lerp(images, partners, 0.5 * _per_image(strength_B))


def spliced(images: Tensor, partners: Tensor, strength_B: Tensor, g: torch.Generator) -> Tensor:
    """One side of the image, up to a half, is another image's."""
    count, _, height, width = images.shape
    across = torch.linspace(0, 1, width).expand(height, width)
    ramps_4HW = torch.stack([across, 1 - across, across.T, 1 - across.T])
    sides_B = torch.randint(4, (count,), generator=g)
    edge_B111 = (0.5 * strength_B.clamp(min=0.15))[:, None, None, None]
    mask = ((edge_B111 - ramps_4HW[sides_B][:, None]) * 20).sigmoid()
    return torch.lerp(images, partners, mask)


def misexposed(images: Tensor, partners: Tensor, strength_B: Tensor, g: torch.Generator) -> Tensor:
    """Gamma, contrast, brightness and tint drawn further than a real exposure goes."""

    def draw(*shape: int) -> Tensor:
        return torch.empty(*shape).uniform_(-1, 1, generator=g) * _per_image(strength_B)

    count = len(images)
    result = images.clamp(1e-3, 1) ** (draw(count, 1, 1, 1).sign() * _per_image(strength_B)).exp()
    result = (result - 0.5) * (1 - 0.6 * draw(count, 1, 1, 1)) + 0.5
    return result + 0.25 * draw(count, 1, 1, 1) + 0.2 * draw(count, 3, 1, 1)


def oversharpened(
    images: Tensor, partners: Tensor, strength_B: Tensor, _: torch.Generator
) -> Tensor:
    """Unsharp masking by up to 4 times the lost detail: what chasing sharpness leads to."""
    soft = gaussian_blur(images, torch.full_like(strength_B, images.shape[-1] / 64))
    return images + 4 * _per_image(strength_B) * (images - soft)


# Name, what it does, and the severity of full strength: a warp may still be anatomy, a blur is not.
_TABLE: tuple[tuple[str, Corruption, float], ...] = (
    ("blur", blurred, 3.0),
    ("noise", noisy, 3.0),
    ("blotches", blotched, 3.0),
    ("coarse", coarse, 3.0),
    ("blocks", blocky, 2.5),
    ("smear", smeared, 1.5),
    ("shuffle", shuffled, 3.0),
    ("warp", warped, 2.5),
    ("blend", blended, 2.5),
    ("splice", spliced, 2.5),
    ("exposure", misexposed, 2.5),
    ("sharpening", oversharpened, 2.5),
)
KINDS = tuple(name for name, _, _ in _TABLE)
COMBINED = 0.3  # share of the images that are corrupted twice


def corrupt_one_way(
    images: Tensor, partners: Tensor, kind: str, strength: float, generator: torch.Generator
) -> Tensor:
    """Return all images corrupted in one way at one strength, in [0, 1]."""
    apply = _TABLE[KINDS.index(kind)][1]
    strength_B = torch.full((len(images),), strength)
    return apply(images, partners, strength_B, generator).clamp(0, 1)


def corrupt(images: Tensor, partners: Tensor, generator: torch.Generator) -> Corrupted:
    """Return every image corrupted at random, some of them in two ways."""
    first, kinds_B, severities_B = _corrupt_once(images, partners, generator)
    twice = torch.rand(len(images), generator=generator) < COMBINED
    if twice.any():
        again, _, more = _corrupt_once(first[twice], partners[twice], generator)
        first[twice] = again
        severities_B[twice] = (severities_B[twice].square() + more.square()).sqrt()
    return Corrupted(first, kinds_B, severities_B)


def _corrupt_once(
    images: Tensor, partners: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    count = len(images)
    kinds_B = torch.randint(len(KINDS), (count,), generator=generator)
    strengths_B = 0.04 + 0.96 * torch.rand(count, generator=generator) ** 1.4  # more weak ones
    severities_B = strengths_B * torch.tensor([full for _, _, full in _TABLE])[kinds_B]
    result = torch.empty_like(images)
    for kind in kinds_B.unique().tolist():
        these = kinds_B == kind
        apply = _TABLE[kind][1]
        result[these] = apply(images[these], partners[these], strengths_B[these], generator)
    return result.clamp(0, 1), kinds_B, severities_B


def _per_image(values_B: Tensor) -> Tensor:
    return values_B[:, None, None, None]


def _gray_or_colour(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(len(images), 3, side, side, generator=generator)
    gray = torch.rand(len(images), generator=generator) < 0.5
    noise[gray] = noise[gray][:, :1].expand(-1, 3, -1, -1)
    return noise


def cosine_basis(size: int) -> Tensor:
    """Return the orthonormal cosine transform of `size` samples, [size, size], one basis a row."""
    rows = torch.arange(size, dtype=torch.float32)[:, None]
    columns = torch.arange(size, dtype=torch.float32)[None, :]
    basis: Tensor = torch.cos(torch.pi * rows * (columns + 0.5) / size) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis
