"""What decides a fine-tuning, beside the generator and what it learns from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any

from generators.config import setting
from generators.errors import GeneratorError

LR_SCHEDULES = ("constant", "linear", "cosine")
DTYPES = ("float32", "bfloat16")
LORA_TARGETS = ("attention", "attention+convolutions")
PREDICTION_TYPES = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one fine-tuning. A step draws `batch_size` images, however they are spread."""

    # how much
    num_steps: int = setting(2000, "Optimiser steps.", option="--steps", panel="Optimisation")
    # the gradient does not ask how many processes share the images
    batch_size: int = setting(16, "Images per step, over all processes.")
    micro_batch: int = setting(
        16, "Images per backward pass of one process; affects memory, not the result."
    )

    # learning
    learning_rate: float = setting(1e-5, "Learning rate of AdamW; 1e-4 or more for adapters.")
    lr_schedule: str = setting(
        "constant", "Learning-rate schedule after the warm-up.", choices=LR_SCHEDULES
    )
    warmup_steps: int = setting(
        100, "Steps over which the learning rate rises from 0.", option="--warmup"
    )
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = setting(0.01, "Weight decay of AdamW.")
    # L2 norm over all trained weights
    max_grad_norm: float = setting(1.0, "Gradient norm above which gradients are clipped.")
    ema_decay: float = setting(
        0.9999, "Decay of the moving average of the weights, 0 to 1; 0: no average.", option="--ema"
    )

    # which weights
    lora_rank: int = setting(
        0, "Rank of LoRA adapters on the U-Net; 0 trains the full weights.", panel="Weights"
    )
    lora_alpha: float | None = setting(
        None, "Strength of the adapters: alpha / rank scales them.", shown="rank"
    )
    lora_targets: str = setting("attention", "Layers that get adapters.", choices=LORA_TARGETS)
    train_text_encoder: bool = setting(False, "Also train the text encoder.")

    # the loss
    prediction_type: str | None = setting(
        None,
        "What the network predicts.",
        choices=PREDICTION_TYPES,
        shown="the generator's own",
        panel="Loss",
    )
    min_snr_gamma: float = setting(
        5.0, "Gamma of min-SNR weighting; 0: equal weights for all timesteps.", option="--min-snr"
    )
    # makes images darker and lighter
    noise_offset: float = setting(0.0, "Scale of the noise offset, one number per channel.")
    # 0.1 in Ning et al. 2023
    input_perturbation: float = setting(
        0.0, "Extra input noise that is not part of the target (input perturbation)."
    )
    drop_conditions: float = setting(
        0.1,
        "Share of images shown without any condition, for classifier-free guidance, 0 to 1.",
        option="--drop",
    )
    drop_text: float = setting(0.0, "Share of images shown without text but with modality, 0 to 1.")
    drop_modality: float = setting(
        0.0, "Share of images shown without modality but with text, 0 to 1."
    )
    drop_images: float = setting(0.0, "Share of images shown without condition images, 0 to 1.")
    drop_words: float = setting(0.0, "Share of images shown with condition images only, 0 to 1.")
    # at the noisiest level conditions are all that there is to go by
    noisiest_share: float = setting(0.0, "Share of images shown at the noisiest level, 0 to 1.")
    noisy_share: float = setting(
        0.0, "Share of images shown in the noisiest quarter of levels, 0 to 1."
    )

    # looking on
    # at the start and the end in any case
    validate_every: int = setting(200, "Steps between validations.", panel="Progress")
    validation_noises: int = 4  # noise levels each validation image is tried at: always the same
    checkpoint_every: int = setting(
        100, "Steps between checkpoints: the most work that a kill can lose."
    )

    # the machine
    # weights and optimiser stay float32
    dtype: str = setting(
        "float32", "Number format inside the denoiser.", choices=DTYPES, panel="Machine"
    )
    gradient_checkpointing: bool = setting(
        False, "Recompute activations to save memory, for a third more time."
    )
    seed: int = setting(0, "Random seed.")

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for holds, needed in self._needs():
            if not holds:
                raise GeneratorError(
                    f"These training settings cannot be run: {needed}. Found: {self}."
                )

    def _needs(self) -> list[tuple[bool, str]]:
        counts = (self.num_steps, self.batch_size, self.micro_batch, self.checkpoint_every)
        shares = [value for name, value in asdict(self).items() if name.startswith("drop_")]
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
                "drop_conditions, drop_text, drop_modality, drop_images and drop_words are shares, "
                "at most 1 in all",
            ),
            (
                min(self.noisiest_share, self.noisy_share) >= 0
                and self.noisiest_share + self.noisy_share <= 1,
                "noisiest_share and noisy_share are shares, at most 1 in all",
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
        """Return plain values for a row; what came later is named only where it is used."""
        later = ("noisiest_share", "noisy_share", "drop_words")
        return {k: v for k, v in asdict(self).items() if k not in later or v}

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
