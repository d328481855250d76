"""The shapes of every generator: prompts, conditions, and what makes samples of them.

Tensor names carry shapes: B images, L tokens, D features, C channels, H x W latent positions,
T training timesteps. A name without a suffix has B first and any number of spatial axes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from generators.config import SamplingSettings
from generators.errors import GeneratorError
from generators.sample import Kind, Sample

# of `model_index.json`, by part: the library and the class that opens it, or None twice
Entries = dict[str, list[str | None]]


@dataclass(frozen=True)
class Prompt:
    """What to generate. Families read the parts they know."""

    modality: str  # a canonical name: OCT, Fundus, CXR, ChestCT, BrainMRI, BreastMRI
    text: str  # the description, without the modality
    label: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)  # clinical record
    images: Mapping[str, Sample] = field(default_factory=dict)  # by role: mask, prior, source ...


@dataclass(frozen=True)
class Conditions:
    """Prompts as tensors, by what a network does with them. B is the same in all parts.

    `tokens` [B, L, D] are for cross-attention, `pooled` [B, D] is a text in one vector, `channels`
    [B, C, *spatial] are joined to the latents (masks, prior images), `modulation` [B, D] is
    feature-wise scale and shift beside the timestep's, `time_ids` [B, 6] are SDXL's sizes and crop.
    No network is shown `start`, the latents of a source image where a sampler starts, nor `kept`
    [B, C + 1, *spatial]: the picture that stays, 0 .. 1, and a mask that is 1 where it may change.
    """

    parts: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Refuse conditions that do not say for how many images they are."""
        if len({len(part) for part in self.parts.values()}) != 1:
            raise ValueError("conditions need at least one part, and one batch size for all parts")

    @classmethod
    def of(cls, **parts: Tensor) -> "Conditions":
        """Return the conditions with these parts: `Conditions.of(tokens=..., channels=...)`."""
        return cls(parts)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(next(iter(self.parts.values())))

    def select(self, indices: Sequence[int] | Tensor) -> "Conditions":
        """Return the conditions of these images, in this order; an index may come twice."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return Conditions({name: part[chosen.to(part.device)] for name, part in self.parts.items()})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Conditions":
        """Return the conditions on another device, or in another precision."""
        return Conditions(
            {name: part.to(device=device, dtype=dtype) for name, part in self.parts.items()}
        )

    def taking(self, other: "Conditions", name: str) -> "Conditions":
        """Return these conditions with one part of others."""
        return Conditions({**self.parts, name: other.parts[name]})

    def without(self, name: str) -> "Conditions":
        """Return these conditions without a part, where there is one."""
        return Conditions({part: self.parts[part] for part in self.parts if part != name})

    @property
    def shown(self) -> "Conditions":
        """Return what a network is shown."""
        return self.without("start").without("kept")

    @staticmethod
    def join(several: Sequence["Conditions"]) -> "Conditions":
        """Return one after the other; all must have the same parts."""
        names = several[0].parts.keys()
        if any(one.parts.keys() != names for one in several):
            raise ValueError("only some of the conditions to join have this part")
        return Conditions({name: torch.cat([one.parts[name] for one in several]) for name in names})


@dataclass(frozen=True)
class Output:
    """What a generator makes: what its numbers mean, and the shape of one sample."""

    kind: Kind
    shape: tuple[int, ...]  # channels, then spatial axes

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return self.shape[0]

    @property
    def spatial_dims(self) -> int:
        """Return 2 for pictures, 3 for volumes."""
        return len(self.shape) - 1


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

    def save(self, folder: Path) -> Entries:
        """Write the parts below `folder`; return their `model_index.json` entries."""
        ...


class Codec(Protocol):
    """Pixels to latents and back. `unit` and `value_range` say what the numbers are."""

    unit: Kind
    value_range: tuple[float, float]

    def output(self, latent_shape: Sequence[int]) -> Output:
        """Return what latents of this shape become."""
        ...

    def to_unit(self, images: Tensor) -> Tensor:
        """Return images in `value_range` as numbers in 0 .. 1."""
        ...

    def to_values(self, images: Tensor) -> Tensor:
        """Return decoded images as samples have them: intensities in 0 .. 1, HU as they are."""
        ...

    def from_unit(self, images: Tensor) -> Tensor:
        """Return images in 0 .. 1 as numbers in `value_range`."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images [B, C, *spatial] in `value_range`, in the order of `latents`."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents of images in `value_range`: no randomness, about unit variance."""
        ...

    def unscaled(self, images: Tensor) -> Tensor:
        """Return the latents as they are before they are brought to unit variance."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """Move the weights."""
        ...

    def save(self, folder: Path) -> Entries:
        """Write the parts below `folder`; return their `model_index.json` entries."""
        ...


class Process(Protocol):
    """How samples become noise, x_t = a sample + s noise, and back. Shapes: B images."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration of the diffusers scheduler that it is saved as."""
        ...

    @property
    def prediction_type(self) -> str:
        """Return what the network predicts: "epsilon", "v_prediction" or "flow_prediction"."""
        ...

    @property
    def num_train_steps(self) -> int:
        """Return the largest timestep that there is in training, and 1."""
        ...

    @property
    def end(self) -> float:
        """Return the timestep where the sample is."""
        ...

    @property
    def noisiest(self) -> float:
        """Return the timestep with the most noise."""
        ...

    def timesteps(self, num_steps: int) -> list[float]:
        """Return the timesteps that a sampler of `num_steps` visits, noisiest first."""
        ...

    def times(self, levels: Tensor) -> Tensor:
        """Return the timesteps at positions in 0 .. `num_train_steps`."""
        ...

    def draw_time(self, source: torch.Generator) -> float:
        """Return a timestep to train on."""
        ...

    def shares(self, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s: float64 [B] on the CPU."""
        ...

    def noised(self, clean: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """Return x_t."""
        ...

    def target(self, clean: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """Return what a perfect network predicts at x_t."""
        ...

    def to_clean(self, prediction: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
        """Return the clean latents that a prediction amounts to; unclamped."""
        ...

    def clean_slope(self, t_B: Tensor) -> Tensor:
        """Return how much the clean latents move with the prediction: float64 [B]."""
        ...

    def step(
        self, prediction: Tensor, x_t: Tensor, t_B: Tensor, t_next_B: Tensor, eta: float
    ) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation [B, 1, ...] of the next latents; eta 0 has none."""
        ...

    def trailing(self) -> "Process":
        """Return the process with a sampler's steps counted from the noisy end."""
        ...

    def predicting(self, prediction_type: str) -> "Process":
        """Return the process for a network that learns to predict this instead."""
        ...

    def save(self, folder: Path) -> Entries:
        """Write the scheduler; return its `model_index.json` entry."""
        ...


class Denoiser(nn.Module):
    """A network, and what it is handed of the conditions: this is what training moves.

    A subclass for each signature says so in `ask`; those of diffusers' networks are in
    `generators.diffusion.networks`.
    """

    part = "unet"  # the name of its folder, and the first word of its weights' names
    needs: frozenset[str] = frozenset()  # parts of conditions that it cannot do without
    whole: tuple[str, ...] = ()  # modules that learn in full beside adapters
    # roles in which an image that is learned from stands itself: no other file is opened for them
    learns_itself: frozenset[str] = frozenset()

    def __init__(self, network: nn.Module) -> None:
        """Wrap it."""
        super().__init__()
        self.add_module(self.part, network)

    @property
    def network(self) -> Any:
        """Return the network inside, for those who lay it out, compile it or adapt it."""
        return self.get_submodule(self.part)

    def swap(self, network: nn.Module) -> nn.Module:
        """Put another network in the place of this one, and return this one."""
        before = self.get_submodule(self.part)
        self.add_module(self.part, network)
        return before

    def forward(self, x_t: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
        """Return the prediction, of what the process says, shaped like `x_t`."""
        if "channels" in conditions.parts:
            x_t = torch.cat([x_t, conditions.parts["channels"]], dim=1)
        return self.ask(x_t, t_B, conditions.parts)

    def ask(self, x_t: Tensor, t_B: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the network's prediction for latents that `channels` have been joined to."""
        raise NotImplementedError

    def save(self, folder: Path) -> Entries:
        """Write the network; return its `model_index.json` entry."""
        self.network.save_pretrained(folder / self.part, safe_serialization=True)
        return {self.part: ["diffusers", type(self.network).__name__]}


class Generator(Protocol):
    """Prompts to samples. Weights are frozen and in evaluation mode until someone trains them."""

    family: str
    reads: frozenset[str]  # roles of condition images that it looks at

    @property
    def output(self) -> Output:
        """Return what `generate` makes."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        ...

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt. A row depends on its own prompt only, to the last bit."""
        ...

    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        """Return float32 samples [B, C, *spatial], one for each condition and seed.

        Intensities lie in 0 .. 1, HU are HU, labels are whole numbers. Equal seeds, conditions and
        settings give equal samples, whatever stands beside them. NaN or infinite values are left
        for the caller to find.
        """
        ...

    def to(self, device: torch.device | str) -> "Generator":
        """Move all weights, and return this generator."""
        ...

    def save(self, folder: Path) -> None:
        """Write a folder that the family's `load` opens: equal weights give equal bytes."""
        ...


@runtime_checkable
class ReadsSoMuch(Protocol):
    """The capability of conditioners that read texts of a bounded length."""

    def read_of(self, text: str) -> str:
        """Return as many whole words of a text as are read: all of it where it fits."""
        ...


@runtime_checkable
class Trainable(Generator, Protocol):
    """The capability of generators whose network learns from images, in one step or many."""

    conditioner: Conditioner
    denoiser: Denoiser
    codec: Codec
    latent_shape: tuple[int, ...]  # of one sample: channels, then spatial axes

    def to(self, device: torch.device | str) -> "Trainable":
        """Move all weights, and return this generator."""
        ...


@runtime_checkable
class Trajectory(Trainable, Protocol):
    """The capability of generators that make a sample step by step."""

    process: Process

    def to(self, device: torch.device | str) -> "Trajectory":
        """Move all weights, and return this generator."""
        ...


def require_trajectory(generator: Generator) -> Trajectory:
    """Return a generator that makes samples step by step; refuse one that does not, as a GAN."""
    if isinstance(generator, Trajectory):
        return generator
    raise GeneratorError(
        f"Family {generator.family!r} makes a sample in one step, and this needs denoising steps. "
        "Choose a diffusion generator: `curate generators list`."
    )


def require_trainable(generator: Generator) -> Trainable:
    """Return a generator whose network learns from images; refuse one that has none to offer."""
    return generator if isinstance(generator, Trainable) else require_trajectory(generator)
