"""The one shape of every generator: a conditioner, a denoiser, a codec and a noise schedule.

Tensor names carry shapes: B images, L tokens, D features, C channels, H x W latent positions,
T training timesteps. A name without a suffix has B first and any number of spatial axes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, ModelMixin, UNet2DConditionModel
from torch import Tensor, nn

from generators.errors import GeneratorError

STOCK_PARTS = {"vae", "text_encoder", "tokenizer", "unet", "scheduler"}
NOTES = (  # what libraries write beside a configuration: where it came from, and who read it
    "_name_or_path",
    "name_or_path",
    "is_local",
    "local_files_only",
    "_diffusers_version",
    "transformers_version",
)


@dataclass(frozen=True)
class Prompt:
    """What to generate. Families read the parts they know."""

    modality: str  # a canonical name: OCT, Fundus, CXR, ChestCT, BrainMRI, BreastMRI
    text: str  # the description, without the modality
    label: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)  # clinical record
    images: Mapping[str, Tensor] = field(default_factory=dict)  # by role: mask, prior or source


@dataclass(frozen=True)
class Conditions:
    """Prompts as tensors. A family fills any of the three; B is the same in all that are filled."""

    tokens_BLD: Tensor | None = None  # for cross-attention
    channels_BCHW: Tensor | None = None  # joined to the latents: masks, prior images
    modulation_BD: Tensor | None = None  # feature-wise scale and shift, beside the timestep's

    def __post_init__(self) -> None:
        """Refuse conditions that do not say for how many images they are."""
        if len({len(part) for part in self._filled()}) != 1:
            raise ValueError("conditions need at least one part, and one batch size for all parts")

    def _filled(self) -> list[Tensor]:
        parts = (self.tokens_BLD, self.channels_BCHW, self.modulation_BD)
        return [part for part in parts if part is not None]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Conditions":
        parts = (self.tokens_BLD, self.channels_BCHW, self.modulation_BD)
        return Conditions(*(None if part is None else change(part) for part in parts))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._filled()[0])

    def select(self, indices: Sequence[int] | Tensor) -> "Conditions":
        """Return the conditions of these images, in this order; an index may come twice."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return self._each(lambda part: part[chosen.to(part.device)])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Conditions":
        """Return the conditions on another device, or in another precision."""
        return self._each(lambda part: part.to(device=device, dtype=dtype))

    @staticmethod
    def join(several: Sequence["Conditions"]) -> "Conditions":
        """Return one after the other; all must have the same parts filled."""

        def joined(parts: list[Tensor | None]) -> Tensor | None:
            tensors = [part for part in parts if part is not None]
            if len(tensors) not in (0, len(parts)):
                raise ValueError("only some of the conditions to join have this part")
            return torch.cat(tensors) if tensors else None

        return Conditions(
            joined([one.tokens_BLD for one in several]),
            joined([one.channels_BCHW for one in several]),
            joined([one.modulation_BD for one in several]),
        )


class Conditioner(Protocol):
    """Prompts to tensors."""

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt. A row depends on its own prompt only, to the last bit."""
        ...

    def unconditional(self, count: int) -> Conditions:
        """Return what guidance steers away from, `count` times."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """Move the weights."""
        ...

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write the parts below `folder`; return their `model_index.json` entries."""
        ...


class Codec(Protocol):
    """Pixels to latents and back. `unit` and `value_range` say what the numbers are."""

    unit: str  # "intensity" or "HU"
    value_range: tuple[float, float]

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images [B, C, *spatial] in `value_range`, in the order of `latents`."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents of images in `value_range`: no randomness, about unit variance."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """Move the weights."""
        ...

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write the parts below `folder`; return their `model_index.json` entries."""
        ...


class Denoiser(nn.Module):
    """A diffusers U-Net, given whichever conditions are filled. This is what RL trains."""

    def __init__(self, unet: ModelMixin) -> None:
        """Wrap a UNet2DConditionModel, or a UNet2DModel where there are no tokens."""
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
        """Return the prediction, epsilon or v as the schedule says, shaped like `x_t`."""
        if conditions.channels_BCHW is not None:
            x_t = torch.cat([x_t, conditions.channels_BCHW], dim=1)
        inputs: dict[str, Tensor | None] = {}
        if conditions.tokens_BLD is not None or isinstance(self.unet, UNet2DConditionModel):
            inputs["encoder_hidden_states"] = conditions.tokens_BLD
        if conditions.modulation_BD is not None:
            inputs["class_labels"] = conditions.modulation_BD
        prediction: Tensor = self.unet(x_t, t_B, **inputs, return_dict=False)[0]
        return prediction

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write the U-Net; return its `model_index.json` entry."""
        self.unet.save_pretrained(folder / "unet", safe_serialization=True)
        return {"unet": ["diffusers", type(self.unet).__name__]}


@dataclass(frozen=True)
class Schedule:
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
    def from_config(cls, config: Mapping[str, Any]) -> "Schedule":
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


@dataclass
class Generator:
    """Conditions to pixels. Weights are frozen and in evaluation mode until someone trains them."""

    family: str
    conditioner: Conditioner
    denoiser: Denoiser
    codec: Codec
    schedule: Schedule
    latent_shape: tuple[int, ...]  # of one image: channels, then spatial axes

    @property
    def device(self) -> torch.device:
        """Return where the denoiser's weights are."""
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device | str) -> "Generator":
        """Move all weights, and return this generator."""
        self.conditioner.to(device)
        self.denoiser.to(device)
        self.codec.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write a diffusers folder: equal weights give equal bytes.

        Where every part is a stock class, `StableDiffusionPipeline.from_pretrained` opens it;
        otherwise `model_index.json` names no pipeline and the folder opens through curate only.
        """
        folder.mkdir(parents=True, exist_ok=True)
        index: dict[str, Any] = {}
        for part in (self.conditioner, self.denoiser, self.codec, self.schedule):
            index |= part.save(folder)
        if set(index) == STOCK_PARTS:
            index |= {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
            index |= dict.fromkeys(("safety_checker", "feature_extractor"), [None, None])
            index |= {"image_encoder": [None, None]}
        (folder / "model_index.json").write_text(json.dumps(index))
        for path in folder.rglob("*.json"):
            _rewrite_plainly(path)
        for path in folder.rglob("*.safetensors"):  # safetensors lets the owner alone read them
            path.chmod((folder / "model_index.json").stat().st_mode)


def _rewrite_plainly(path: Path) -> None:
    """Sort the keys and drop the notes, so that equal models are equal files."""
    values = json.loads(path.read_text(encoding="utf-8"))
    plain = {key: values[key] for key in values if key not in NOTES}
    path.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
