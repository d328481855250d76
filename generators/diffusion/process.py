"""How images become noise, and how much of either there is at which timestep."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from generators.errors import GeneratorError


@dataclass(frozen=True)
class VariancePreserving:
    """How much noise there is at which timestep; which timesteps a sampler visits.

    `config` is that of a diffusers scheduler (any class: DDIM's reading of it counts).
    Timestep -1 is the end of the chain, where the image is.
    """

    config: Mapping[str, Any]
    alphas_cumprod_T: Tensor  # float64, on the CPU: products of 1 - beta
    final_alpha_cumprod: float  # at timestep -1; 1 = no noise is left
    prediction_type: str  # "epsilon" or "v_prediction"
    num_train_steps: int
    clip_range: float | None  # predicted images are clamped to +- this, in pixel models

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "VariancePreserving":
        """Return the schedule of a diffusers scheduler's configuration."""
        known = {key: value for key, value in config.items() if not key.startswith("_")}
        known.setdefault("clip_sample", False)  # DDIM's own default would clamp latents
        scheduler = DDIMScheduler.from_config(known)
        settings = scheduler.config
        if settings["prediction_type"] not in ("epsilon", "v_prediction"):
            raise GeneratorError(
                f"This generator predicts {settings['prediction_type']!r}; curate samples from "
                "epsilon and v_prediction. Convert it, or choose another checkpoint."
            )
        if settings["thresholding"]:
            raise GeneratorError("Schedulers with dynamic thresholding are not supported.")
        return cls(
            config={key: settings[key] for key in settings if not key.startswith("_")},
            alphas_cumprod_T=scheduler.alphas_cumprod.double(),
            final_alpha_cumprod=float(scheduler.final_alpha_cumprod),
            prediction_type=settings["prediction_type"],
            num_train_steps=settings["num_train_timesteps"],
            clip_range=settings["clip_sample_range"] if settings["clip_sample"] else None,
        )

    def timesteps(self, num_steps: int) -> list[int]:
        """Return the timesteps that a sampler of `num_steps` visits, noisiest first."""
        if num_steps > self.num_train_steps:
            raise GeneratorError(
                f"{num_steps} steps, but this generator knows {self.num_train_steps} noise levels. "
                "Ask for fewer steps."
            )
        scheduler = DDIMScheduler.from_config(dict(self.config))
        scheduler.set_timesteps(num_steps)
        return [int(t) for t in scheduler.timesteps]

    def alphas_cumprod(self, t_B: Tensor) -> Tensor:
        """Return float64 values on the CPU; `t_B` may hold -1."""
        t_B = t_B.to("cpu", torch.long)
        inside_B = self.alphas_cumprod_T[t_B.clamp(min=0)]
        return torch.where(t_B < 0, torch.full_like(inside_B, self.final_alpha_cumprod), inside_B)

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write a DDIM scheduler; return its `model_index.json` entry."""
        DDIMScheduler.from_config(dict(self.config)).save_pretrained(folder / "scheduler")
        return {"scheduler": ["diffusers", "DDIMScheduler"]}
