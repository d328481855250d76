"""What the denoiser is asked at a step, and how its answers are put together."""

import torch
from torch import Tensor

from generators.base import Conditions, Trajectory
from generators.config import SamplingSettings


def predict(
    generator: Trajectory,
    x_t: Tensor,
    t_B: Tensor,
    conditions: Conditions,
    settings: SamplingSettings,
) -> Tensor:
    """Return the denoiser's prediction, guided where `settings.guidance` is not 1.

    Guidance evaluates both halves in one pass. Autocast holds inside the denoiser only.
    """
    num_images, t_B = len(x_t), t_B.to(x_t.device)
    guided = settings.guidance != 1
    if guided:
        unconditional = generator.conditioner.unconditional(num_images)
        unconditional = unconditional.to(x_t.device, x_t.dtype)
        conditions = Conditions.join([unconditional, conditions])
        x_t, t_B = torch.cat([x_t, x_t]), torch.cat([t_B, t_B])
    bfloat16 = settings.dtype == "bfloat16"
    with torch.autocast(x_t.device.type, torch.bfloat16, enabled=bfloat16):
        prediction: Tensor = generator.denoiser(x_t, t_B, conditions)
    prediction = prediction.to(x_t.dtype)
    if not guided:
        return prediction
    without, with_conditions = prediction.split(num_images)
    steered: Tensor = without + settings.guidance * (with_conditions - without)
    return steered
