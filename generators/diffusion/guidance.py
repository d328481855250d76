"""What the denoiser is asked at a step, and how its answers are put together."""

from dataclasses import replace

import torch
from torch import Tensor

from generators.base import Conditions, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.process import per_image
from generators.diffusion.windows import blended
from generators.errors import GeneratorError


def predict(
    generator: Trajectory,
    x_t: Tensor,
    t_B: Tensor,
    conditions: Conditions,
    settings: SamplingSettings,
) -> Tensor:
    """Return the denoiser's prediction, guided as `settings` say.

    Classifier-free guidance evaluates both halves in one pass (Ho and Salimans 2022), guidance with
    a scale of its own for images three thirds (Brooks et al. 2023, InstructPix2Pix, equation 3).
    Outside the interval of noise levels the conditional prediction stands alone (Kynkaanniemi et
    al. 2024). Autocast holds inside the denoiser only. With a window in the settings larger images
    are asked about window by window.
    """
    conditions = conditions.shown
    if settings.window is not None:
        alone = replace(settings, window=None, overlap=SamplingSettings().overlap)
        return blended(
            lambda x, t, about: predict(generator, x, t, about, alone),
            x_t,
            t_B,
            conditions,
            window=settings.window,
            overlap=settings.overlap,
            batch_size=settings.batch_size,
        )
    num_images, t_B = len(x_t), t_B.to(x_t.device)
    level_B = t_B / generator.process.num_train_steps
    inside_B = (settings.guidance_until <= level_B) & (level_B <= settings.guidance_from)
    asked = [conditions]
    if settings.is_guided and bool(inside_B.any()):
        asked = [*_less(generator, conditions, settings, x_t), conditions]
    x_t, t_B = torch.cat([x_t] * len(asked)), torch.cat([t_B] * len(asked))
    bfloat16 = settings.dtype == "bfloat16"
    with torch.autocast(x_t.device.type, torch.bfloat16, enabled=bfloat16):
        prediction: Tensor = generator.denoiser(x_t, t_B, Conditions.join(asked))
    parts: list[Tensor] = list(prediction.to(x_t.dtype).split(num_images))
    *less, whole = parts
    if not less:
        return whole
    steered = less[-1] + settings.guidance * (whole - less[-1])
    if settings.image_guidance is not None:
        nothing, images = less
        towards_images = nothing + settings.image_guidance * (images - nothing)
        steered = towards_images + settings.guidance * (whole - images)
    if bool(inside_B.all()):
        return steered
    inside = per_image(inside_B, x_t).bool()
    return torch.where(inside, steered, whole)


def _less(
    generator: Trajectory, conditions: Conditions, settings: SamplingSettings, like: Tensor
) -> list[Conditions]:
    """Return the conditions that guidance steers away from: nothing, then the images alone."""
    nothing = generator.conditioner.unconditional(len(conditions)).to(like.device, like.dtype)
    images = conditions.parts.get("channels")
    if images is not None and nothing.parts["channels"].shape != images.shape:
        # items differ in size, and no image is alike everywhere
        corner = nothing.parts["channels"].flatten(2)[..., 0]
        corner = corner.view(*corner.shape, *[1] * (images.dim() - 2))
        nothing = Conditions({**nothing.parts, "channels": corner.expand_as(images)})
    if settings.image_guidance is None:
        return [nothing]
    if "channels" not in conditions.parts:
        raise GeneratorError(
            "This generator reads no condition images, and --image-guidance is their scale. Omit "
            "it."
        )
    return [nothing, nothing.taking(conditions, "channels")]
