"""The denoiser of a translator: it looks at the source anew at every noise level.

What is computed of the source is a function of (x_t, source) alone, inside the denoiser: sampling,
training, rollouts and the log-probabilities of RL agree because they ask the same function.
Shapes: B images of one channel, H x W pixels, latents and sources in -1 .. 1.
"""

import json
from pathlib import Path

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn import functional

from generators.base import Conditions, Entries, Process
from generators.diffusion.networks import UNet
from generators.diffusion.process import per_image
from generators.translation.config import TranslationSettings
from generators.translation.contrast import random_contrast
from generators.translation.maps import local_mutual_information, self_similarity

FILE = "translation.json"


class TranslationDenoiser(UNet):
    """A U-Net beside what it is shown of a source of another contrast.

    The part `channels` [B, 2, H, W] is the source and, 1 or 0 everywhere, whether there is one. In
    training the source is the image itself; where contrasts are randomised, it is shown in a new
    one each time, drawn as dropout is. In evaluation mode the source is shown as it is.
    """

    needs = frozenset({"channels"})
    learns_itself = frozenset({"source"})

    def __init__(
        self, network: UNet2DModel, settings: TranslationSettings, process: Process
    ) -> None:
        """Take what is shown; the process is asked where guidance follows a gradient."""
        super().__init__(network)
        self.settings, self.process = settings, process

    def forward(self, x_t: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
        """Return the prediction, shaped like `x_t`."""
        channels = conditions.parts["channels"]
        source, present = channels[:, :1] / 2 + 0.5, channels[:, 1:]
        if self.training and "contrast" in self.settings.shows:
            source = random_contrast(source)
        shown = self.shown(x_t / 2 + 0.5, source) * present
        parts = conditions.without("channels").parts if len(conditions.parts) > 1 else {}
        seen = functional.pixel_unshuffle(torch.cat([x_t, shown], dim=1), self.settings.fold)
        prediction = functional.pixel_shuffle(self.ask(seen, t_B, parts), self.settings.fold)
        if self.training or not self.settings.gradient:
            return prediction
        # a step of the v-prediction that raises the cross map of its clean image; its gradient has
        # a root mean square of 1 an image, and for RL it is a constant of (x_t, t, source)
        with torch.inference_mode(False), torch.enable_grad():
            clean = self.process.to_clean(prediction.detach().clone(), x_t.detach().clone(), t_B)
            clean = clean.clamp(-1, 1).clone().requires_grad_()
            alike = local_mutual_information(
                source.detach().clone(), clean / 2 + 0.5, self.settings.patch
            )
            (uphill,) = torch.autograd.grad(alike.sum(), clean)
        size_B = uphill.flatten(1).square().mean(dim=1).sqrt().clamp_min(1e-12)
        return prediction - self.settings.gradient * present * uphill / per_image(size_B, uphill)

    def shown(self, noisy_B1HW: Tensor, source_B1HW: Tensor) -> Tensor:
        """Return what the network sees of the source beside x_t; both in 0 .. 1, as is noise."""
        settings = self.settings

        def mutual(other: Tensor) -> Tensor:
            return local_mutual_information(
                source_B1HW, other, settings.patch, estimator=settings.estimator
            )

        kinds = {
            "contrast": lambda: source_B1HW * 2 - 1,
            "cross": lambda: mutual(noisy_B1HW),
            "self": lambda: mutual(source_B1HW),
            "mind": lambda: self_similarity(source_B1HW, settings.patch),
        }
        nothing = source_B1HW[:, :0]
        return torch.cat([nothing, *(kinds[kind]() for kind in settings.shows)], dim=1)

    def save(self, folder: Path) -> Entries:
        """Write the network and what it is shown; return its `model_index.json` entry."""
        entries = super().save(folder)
        text = json.dumps(self.settings.to_json(), sort_keys=True)
        (folder / FILE).write_text(text, encoding="utf-8")
        return entries


def num_shown(settings: TranslationSettings) -> int:
    """Return how many channels beside x_t the network is shown."""
    return sum(settings.patch**2 - 1 if kind == "mind" else 1 for kind in settings.shows)
