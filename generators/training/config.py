"""What decides a fine-tuning, beside the generator and what it learns from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any

from generators.errors import GeneratorError

LR_SCHEDULES = ("constant", "linear", "cosine")
DTYPES = ("float32", "bfloat16")
LORA_TARGETS = ("attention", "attention+convolutions")
PREDICTION_TYPES = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one fine-tuning. A step draws `batch_size` images, however they are spread."""

    # how much
    num_steps: int = 2000  # optimiser steps
    batch_size: int = 16  # images a step, over all processes: the gradient does not ask how many
    micro_batch: int = 16  # images a backward pass of one process: memory only

    # learning
    learning_rate: float = 1e-5  # full weights; adapters 1e-4 and more
    lr_schedule: str = "constant"  # after the warm-up; linear and cosine fall to 0 at the end
    warmup_steps: int = 100
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0  # L2 norm over all trained weights
    ema_decay: float = 0.9999  # the result is a moving average of the weights; 0: the last weights

    # which weights
    lora_rank: int = 0  # of adapters on the U-Net; 0 trains its full weights
    lora_alpha: float | None = None  # alpha / rank scales the adapters; None: alpha = rank
    lora_targets: str = "attention"
    train_text_encoder: bool = False

    # the loss
    prediction_type: str | None = None  # None: as the generator was trained
    min_snr_gamma: float = 5.0  # 0: all timesteps weigh the same
    noise_offset: float = 0.0  # share of noise that is one number a channel: darker and lighter
    input_perturbation: float = 0.0  # more noise in than is asked back (0.1 in Ning et al. 2023)
    drop_conditions: float = 0.1  # shares of images shown without any condition, for guidance,
    drop_text: float = 0.0  # without their text, the modality kept,
    drop_modality: float = 0.0  # without their modality, the text kept,
    drop_images: float = 0.0  # and without their condition images, modality and text kept

    # looking on
    validate_every: int = 200  # steps; at the start and the end in any case
    validation_noises: int = 4  # noise levels each validation image is tried at: always the same
    checkpoint_every: int = 100  # steps that a kill may cost

    # the machine
    dtype: str = "float32"  # inside the denoiser; weights and optimiser stay float32
    gradient_checkpointing: bool = False  # computes activations twice, to keep fewer
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for holds, needed in self._needs():
            if not holds:
                raise GeneratorError(
                    f"These training settings cannot be run: {needed}. Found: {self}."
                )

    def _needs(self) -> list[tuple[bool, str]]:
        counts = (self.num_steps, self.batch_size, self.micro_batch, self.checkpoint_every)
        shares = (self.drop_conditions, self.drop_text, self.drop_modality, self.drop_images)
        return [
            (
                min(*counts, self.validate_every, self.validation_noises) >= 1,
                "num_steps, batch_size, micro_batch, checkpoint_every, validate_every and "
                "validation_noises are 1 or more",
            ),
            (
                min(self.learning_rate, self.epsilon, self.max_grad_norm) > 0,
                "learning_rate, epsilon and max_grad_norm are above 0",
            ),
            (
                min(self.warmup_steps, self.weight_decay, self.lora_rank, self.min_snr_gamma) >= 0,
                "warmup_steps, weight_decay, lora_rank and min_snr_gamma are 0 or more",
            ),
            (
                min(self.noise_offset, self.input_perturbation) >= 0,
                "noise_offset and input_perturbation are 0 or more",
            ),
            (
                all(0 <= value < 1 for value in (self.beta1, self.beta2, self.ema_decay)),
                "beta1, beta2 and ema_decay lie in 0 .. 1, 1 excluded",
            ),
            (
                min(shares) >= 0 and sum(shares) <= 1,
                "drop_conditions, drop_text, drop_modality and drop_images are shares, at most 1 "
                "in all",
            ),
            (self.lr_schedule in LR_SCHEDULES, f"lr_schedule is one of {', '.join(LR_SCHEDULES)}"),
            (self.dtype in DTYPES, f"dtype is one of {', '.join(DTYPES)}"),
            (
                self.lora_targets in LORA_TARGETS,
                f"lora_targets is one of {', '.join(LORA_TARGETS)}",
            ),
            (
                self.prediction_type in (None, *PREDICTION_TYPES),
                f"prediction_type is one of {', '.join(PREDICTION_TYPES)}",
            ),
            (
                not (self.lora_rank and (self.train_text_encoder or self.prediction_type)),
                "adapters (lora_rank) change the U-Net alone: train the text encoder, or another "
                "prediction_type, with lora_rank 0",
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Read what `to_json` wrote."""
        return cls(**values)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        ahead = max(1, self.num_steps - self.warmup_steps)
        done = min(1.0, max(0.0, (step - self.warmup_steps) / ahead))
        shape = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + cos(pi * done)) / 2}
        return self.learning_rate * warm * shape[self.lr_schedule]
