"""Eyes of simulated raters that find grades of all kinds among a tiny generator's images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from annotation.config import FIRST_EYES
from curate.production.images import images_of
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator


class RednessEyes:
    """Sees how red an image is; a third of the tiny generator's images get each grade."""

    identity = FIRST_EYES
    modalities = ("OCT", "CXR")

    def __init__(
        self, generator: DiffusionGenerator, sampling: SamplingSettings, *, tired: bool = False
    ) -> None:
        self.tired = tired
        conditions = generator.conditioner([PromptValue("OCT", "normal")] * 60)
        images = images_of(generator, conditions, range(60), sampling)
        low, high = redness(images).quantile(torch.tensor([1 / 3, 2 / 3])).tolist()
        self.thresholds = (low, high)

    def truth(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        if self.tired:
            raise KeyboardInterrupt
        return redness(images)


def redness(images_BCHW: Tensor) -> Tensor:
    return images_BCHW[:, 0].mean(dim=(1, 2)) - images_BCHW[:, 1:].mean(dim=(1, 2, 3))
