"""How images are sampled. Stored with every image that it made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from generators.errors import GeneratorError

SAMPLERS = ("ddim", "dpm++", "unipc")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class SamplingSettings:
    """Everything beside version, prompt and seed that decides an image's pixels."""

    num_steps: int = 20
    guidance: float = 1.0  # classifier-free guidance scale; 1 = the conditional prediction alone
    sampler: str = "ddim"
    eta: float = 0.0  # DDIM's share of fresh noise: 0 = deterministic, 1 = DDPM's variance
    batch_size: int = 16  # images in a compute batch: its shape changes float sums, so it is kept
    dtype: str = "float32"  # inside the denoiser; latents and the scheduler stay float32

    def __post_init__(self) -> None:
        """Refuse what no sampler can do."""
        if self.sampler not in SAMPLERS:
            raise GeneratorError(f"No sampler {self.sampler!r}. Known: {', '.join(SAMPLERS)}.")
        if self.dtype not in DTYPES:
            raise GeneratorError(f"No dtype {self.dtype!r}. Known: {', '.join(DTYPES)}.")
        if self.num_steps < 1 or self.batch_size < 1:
            raise GeneratorError(
                f"{self.num_steps} steps in batches of {self.batch_size}: both must be at least 1."
            )
        if not 0 <= self.eta <= 1 or (self.eta > 0 and self.sampler != "ddim"):
            raise GeneratorError(
                f"eta {self.eta} with {self.sampler}: eta lies in 0 .. 1, and only ddim takes one "
                "above 0. Use --sampler ddim or eta 0."
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as rows and manifests keep them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SamplingSettings":
        """Return the settings that `to_json` wrote."""
        return cls(**values)
