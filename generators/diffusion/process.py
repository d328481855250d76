"""How samples become noise: variance preserving diffusion, and the straight lines of flow matching.

Both mix x_t = a sample + s noise and differ in a, s, in what the network predicts, and in what a
random step is. Tensor names carry shapes: B images, T training timesteps; a name without a suffix
is a batch of latents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from generators.base import Entries, Process
from generators.errors import GeneratorError

# What these call noise levels and predictions, DDIM's reading of their configuration gets right.
VARIANCE_PRESERVING = frozenset(
    f"{name}Scheduler"
    for name in (
        *("DDIM", "DDIMParallel", "DDIMInverse", "DDPM", "DDPMParallel", "PNDM", "LMSDiscrete"),
        *("EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2Discrete"),
        *("KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverMultistepInverse"),
        *("DPMSolverSinglestep", "DPMSolverSDE", "DEISMultistep", "UniPCMultistep"),
    )
)
FLOW = "FlowMatchEulerDiscreteScheduler"
MOST_TRAIN_STEPS = 100_000
# What would put other noise levels in the place of those that `Flow` knows.
FLOW_CHANGES = (
    *("use_dynamic_shifting", "invert_sigmas", "shift_terminal", "stochastic_sampling"),
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"),
)


def read_process(config: Mapping[str, Any]) -> Process:
    """Return the process of a diffusers scheduler's configuration; refuse one not understood."""
    # a scheduler's `config` in memory lacks its class; only flow matching has a shift
    name = config.get("_class_name", FLOW if "shift" in config else "DDIMScheduler")
    if name == FLOW:
        return Flow.from_config(config)
    if name in VARIANCE_PRESERVING:
        return VariancePreserving.from_config(config)
    raise GeneratorError(
        f"This generator's scheduler is a {name}, whose noise curate does not know. Known are "
        f"{FLOW} and those in the manner of DDPM, such as DDIMScheduler."
    )


def _opened(scheduler: Any, config: Mapping[str, Any]) -> Any:
    """Return a diffusers scheduler of a configuration that somebody wrote."""
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= MOST_TRAIN_STEPS:
        raise GeneratorError(
            f"This generator's scheduler has num_train_timesteps {steps!r}; needed: 1 to "
            f"{MOST_TRAIN_STEPS:,}."
        )
    try:
        return scheduler.from_config(dict(config))
    except Exception as error:  # somebody else's parser: none says all that it may raise
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise GeneratorError(f"This generator's scheduler cannot be read: {said}.") from error


class _Mixing:
    """What follows from x_t = a sample + s noise alone."""

    prediction_type: str

    def shares(self, t_B: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def noised(self, clean: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """Return x_t."""
        a, s = self._shares_beside(clean, t_B)
        return a * clean + s * noise

    def target(self, clean: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """Return what a perfect network predicts at x_t."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "flow_prediction":
            return noise - clean
        a, s = self._shares_beside(clean, t_B)
        return a * noise - s * clean

    def to_clean(self, prediction: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
        """Return the clean latents that a prediction amounts to; unclamped."""
        a, s = self._shares_beside(x_t, t_B)
        if self.prediction_type == "epsilon":
            return (x_t - s * prediction) / a
        if self.prediction_type == "flow_prediction":
            return x_t - s * prediction
        return a * x_t - s * prediction

    def clean_slope(self, t_B: Tensor) -> Tensor:
        """Return how much the clean latents move with the prediction: float64 [B]."""
        a_B, s_B = self.shares(t_B)
        return s_B / a_B if self.prediction_type == "epsilon" else s_B

    def _shares_beside(self, like: Tensor, t_B: Tensor) -> tuple[Tensor, Tensor]:
        a_B, s_B = self.shares(t_B)
        return per_image(a_B, like), per_image(s_B, like)


def per_image(values_B: Tensor, like: Tensor) -> Tensor:
    """Return values [B] as [B, 1, ...], to stand beside a batch of latents."""
    return values_B.to(like.device, like.dtype).view(-1, *[1] * (like.dim() - 1))


def checked_steps(num_steps: int, num_train_steps: int) -> int:
    """Return the number of steps; refuse more than there are noise levels."""
    if num_steps > num_train_steps:
        raise GeneratorError(
            f"{num_steps} steps, but this generator knows {num_train_steps} noise levels. "
            "Ask for fewer steps."
        )
    return num_steps


@dataclass(frozen=True)
class VariancePreserving(_Mixing):
    """DDPM's noise, a^2 + s^2 = 1, at whole-numbered timesteps; epsilon or v is predicted.

    `config` is that of a diffusers scheduler in the manner of DDPM: DDIM's reading of it counts.
    """

    config: Mapping[str, Any]
    alphas_cumprod_T: Tensor  # float64, on the CPU: products of 1 - beta
    final_alpha_cumprod: float  # at the end of the chain; 1 = no noise is left
    prediction_type: str  # "epsilon" or "v_prediction"
    num_train_steps: int
    clip_range: float | None  # predicted images are clamped to +- this, in pixel models

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "VariancePreserving":
        """Return the process of a diffusers scheduler's configuration."""
        known = {key: value for key, value in config.items() if not key.startswith("_")}
        known.setdefault("clip_sample", False)  # DDIM's own default would clamp latents
        scheduler = _opened(DDIMScheduler, known)
        settings = scheduler.config
        if settings["prediction_type"] not in ("epsilon", "v_prediction"):
            raise GeneratorError(
                f"This generator predicts {settings['prediction_type']!r}; curate samples from "
                "epsilon and v_prediction. Convert it, or choose another checkpoint."
            )
        if settings["thresholding"]:
            raise GeneratorError("Schedulers with dynamic thresholding are not supported.")
        alphas_T = scheduler.alphas_cumprod
        if not ((alphas_T >= 0) & (alphas_T <= 1)).all():  # nor NaN
            raise GeneratorError(
                "This generator's scheduler has betas outside 0 .. 1: its noise would have no "
                "size. Fetch the checkpoint again."
            )
        return cls(
            config={key: settings[key] for key in settings if not key.startswith("_")},
            alphas_cumprod_T=scheduler.alphas_cumprod.double(),
            final_alpha_cumprod=float(scheduler.final_alpha_cumprod),
            prediction_type=settings["prediction_type"],
            num_train_steps=settings["num_train_timesteps"],
            clip_range=settings["clip_sample_range"] if settings["clip_sample"] else None,
        )

    @property
    def end(self) -> float:
        """Return the timestep where the sample is."""
        return -1

    def timesteps(self, num_steps: int) -> list[float]:
        """Return the timesteps that a sampler of `num_steps` visits, noisiest first."""
        scheduler = DDIMScheduler.from_config(dict(self.config))
        scheduler.set_timesteps(checked_steps(num_steps, self.num_train_steps))
        return [int(t) for t in scheduler.timesteps]

    def times(self, levels: Tensor) -> Tensor:
        """Return the timesteps at positions in 0 .. `num_train_steps`."""
        return levels.long()

    @property
    def noisiest(self) -> float:
        """Return the timestep with the most noise."""
        return self.num_train_steps - 1

    def draw_time(self, source: torch.Generator) -> float:
        """Return a timestep to train on: each as often as any other."""
        return int(torch.randint(self.num_train_steps, (), generator=source))

    def trailing(self) -> "VariancePreserving":
        """Return the process with a sampler's steps counted from the noisy end."""
        return replace(self, config={**self.config, "timestep_spacing": "trailing"})

    def predicting(self, prediction_type: str) -> "VariancePreserving":
        """Return the process for a network that learns to predict this instead."""
        return self.from_config({**self.config, "prediction_type": prediction_type})

    def shares(self, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s of x_t: float64 [B] on the CPU."""
        kept_B = self._alphas_cumprod(t_B)
        return kept_B.sqrt(), (1 - kept_B).sqrt()

    def _alphas_cumprod(self, t_B: Tensor) -> Tensor:
        """Return the share of the sample's variance in x_t: float64 [B] on the CPU."""
        t_B = t_B.to("cpu", torch.long)
        inside_B = self.alphas_cumprod_T[t_B.clamp(min=0)]
        return torch.where(t_B < 0, torch.full_like(inside_B, self.final_alpha_cumprod), inside_B)

    def step(
        self, prediction: Tensor, x_t: Tensor, t_B: Tensor, t_next_B: Tensor, eta: float
    ) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of DDIM's next latents; eta 0 has a deviation of 0.

        Song et al. 2021, equations 12 and 16. The deviation is broadcastable: [B, 1, ...].
        """
        kept_B, next_kept_B = self._alphas_cumprod(t_B), self._alphas_cumprod(t_next_B)
        variance_B = (1 - next_kept_B) / (1 - kept_B) * (1 - kept_B / next_kept_B)
        std_B = eta * variance_B.clamp(min=0).sqrt()
        direction_B = (1 - next_kept_B - std_B.square()).clamp(min=0).sqrt()
        a, s = self._shares_beside(x_t, t_B)
        if self.prediction_type == "epsilon":
            image, noise = (x_t - s * prediction) / a, prediction
        else:  # v = a noise - s image (Salimans and Ho 2022)
            image, noise = a * x_t - s * prediction, s * x_t + a * prediction
        if self.clip_range is not None:
            image = image.clamp(-self.clip_range, self.clip_range)
        mean = per_image(next_kept_B.sqrt(), x_t) * image + per_image(direction_B, x_t) * noise
        return mean, per_image(std_B, x_t)

    def save(self, folder: Path) -> Entries:
        """Write a DDIM scheduler; return its `model_index.json` entry."""
        DDIMScheduler.from_config(dict(self.config)).save_pretrained(folder / "scheduler")
        return {"scheduler": ["diffusers", "DDIMScheduler"]}


@dataclass(frozen=True)
class Flow(_Mixing):
    """Rectified flow: x_t = (1 - s) sample + s noise, and noise - sample is predicted.

    A timestep is s x `num_train_steps`, any real number; 0 is where the sample is. `shift` spends
    more of a sampler's steps, and of training, on the noisy side (Esser et al. 2024, section 5.3).
    """

    config: Mapping[str, Any]
    num_train_steps: int
    shift: float
    prediction_type: str = "flow_prediction"
    end: float = 0.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Flow":
        """Return the process of a `FlowMatchEulerDiscreteScheduler`."""
        known = {key: value for key, value in config.items() if not key.startswith("_")}
        if config.get("prediction_type") in ("epsilon", "v_prediction"):
            raise GeneratorError(
                f"This generator's scheduler is a {FLOW}, but predicts "
                f"{config['prediction_type']!r}, which no flow does: images would be noise. Name "
                "the scheduler that the network was trained with in scheduler_config.json."
            )
        settings = _opened(FlowMatchEulerDiscreteScheduler, known).config
        unknown = [name for name in FLOW_CHANGES if settings[name] not in (False, None)]
        if unknown:
            raise GeneratorError(
                f"This generator's flow-matching scheduler has {unknown[0]}, which curate does not "
                "know. Choose a checkpoint whose scheduler has a fixed shift."
            )
        if not isinstance(settings["shift"], int | float) or not 0 < settings["shift"] < inf:
            raise GeneratorError(
                f"This generator's flow-matching scheduler has shift {settings['shift']!r}; "
                "needed: a positive number."
            )
        return cls(
            config={key: settings[key] for key in settings if not key.startswith("_")},
            num_train_steps=settings["num_train_timesteps"],
            shift=float(settings["shift"]),
        )

    def timesteps(self, num_steps: int) -> list[float]:
        """Return the timesteps that a sampler of `num_steps` visits, noisiest first."""
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(self.config))
        scheduler.set_timesteps(checked_steps(num_steps, self.num_train_steps))
        return [float(t) for t in scheduler.timesteps]

    def times(self, levels: Tensor) -> Tensor:
        """Return the timesteps at positions in 0 .. `num_train_steps`."""
        return levels.float()

    @property
    def noisiest(self) -> float:
        """Return the timestep with the most noise."""
        return self.num_train_steps

    def draw_time(self, source: torch.Generator) -> float:
        """Return a timestep to train on: logit-normal, then shifted (Esser et al. 2024)."""
        share = float(torch.randn((), generator=source).sigmoid())
        return self.num_train_steps * self.shift * share / (1 + (self.shift - 1) * share)

    def trailing(self) -> "Flow":
        """Return itself: its last step is never too clean to matter."""
        return self

    def predicting(self, prediction_type: str) -> "Flow":
        """Refuse: there is one thing that flow matching predicts."""
        raise GeneratorError(
            f"This generator learned by flow matching and cannot learn to predict "
            f"{prediction_type}. Omit --prediction-type."
        )

    def shares(self, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 - s and s: float64 [B] on the CPU."""
        s_B = t_B.to("cpu", torch.float64) / self.num_train_steps
        return 1 - s_B, s_B

    def step(
        self, prediction: Tensor, x_t: Tensor, t_B: Tensor, t_next_B: Tensor, eta: float
    ) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the next latents; eta 0 is Euler's step.

        The stochastic differential equation with the flow's own marginals, of noise level `eta`:
        Liu et al. 2025, Flow-GRPO, equation 9. Its noise is without bound where s is 1; there the
        next s stands in, as in the authors' code. The step that ends the chain is never random.
        """
        _, s_B = self.shares(t_B)
        _, next_s_B = self.shares(t_next_B)
        room_B = 1 - torch.where(s_B < 1, s_B, next_s_B)
        level_B = torch.where(next_s_B > 0, eta * (s_B / room_B).sqrt(), torch.zeros_like(s_B))
        change_B = next_s_B - s_B  # below 0: towards the sample
        noise = x_t + per_image(1 - s_B, x_t) * prediction
        drift_B = level_B.square() / (2 * s_B.clamp(min=1e-12)) * change_B
        mean = x_t + per_image(change_B, x_t) * prediction + per_image(drift_B, x_t) * noise
        return mean, per_image(level_B * (-change_B).clamp(min=0).sqrt(), x_t)

    def save(self, folder: Path) -> Entries:
        """Write the scheduler; return its `model_index.json` entry."""
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(self.config))
        scheduler.save_pretrained(folder / "scheduler")
        return {"scheduler": ["diffusers", FLOW]}
