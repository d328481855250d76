"""How images are sampled. Stored with every image that it made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from generators.errors import GeneratorError

SAMPLERS = ("ddim", "dpm++", "unipc")
DTYPES = ("float32", "bfloat16")
FASTER = {"decoder_dtype": "float32", "channels_last": False, "compile": False}  # when not used


def setting(default: Any, says: str, **more: Any) -> Any:
    """Return a field with its option's help; what `more` may be says `curate/settings.py`."""
    return field(default=default, metadata={"help": says, **more})


@dataclass(frozen=True)
class SamplingSettings:
    """Everything beside version, prompt and seed that decides an image's pixels."""

    num_steps: int = setting(
        20, "Sampling steps for each image.", option="--steps", panel="Sampling", min=1
    )
    guidance: float = setting(1.0, "Scale of classifier-free guidance; 1: none.")
    sampler: str = setting("ddim", "Sampling algorithm.", choices=SAMPLERS)
    eta: float = 0.0  # DDIM's share of fresh noise: 0 = deterministic, 1 = DDPM's variance
    # a batch's shape changes float sums, so it is kept with the image
    batch_size: int = setting(16, "Images in a compute batch.", min=1)
    # inside the denoiser; latents and the scheduler stay float32
    dtype: str = setting("float32", "Number format inside the denoiser.", choices=DTYPES)
    # bfloat16 is faster on a GPU, and up to 1/128 off in a pixel
    decoder_dtype: str = setting(
        "float32", "Number format of the decoder, from latents to pixels.", choices=DTYPES
    )
    # other kernels, other float sums
    channels_last: bool = setting(False, "Use the channels-last memory layout; may be faster.")
    compile: bool = setting(False, "Use torch.compile; on a GPU with CUDA graphs.")

    def __post_init__(self) -> None:
        """Refuse what no sampler can do."""
        if self.sampler not in SAMPLERS:
            raise GeneratorError(f"No sampler {self.sampler!r}. Known: {', '.join(SAMPLERS)}.")
        for dtype in (self.dtype, self.decoder_dtype):
            if dtype not in DTYPES:
                raise GeneratorError(f"No dtype {dtype!r}. Known: {', '.join(DTYPES)}.")
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
        """Return plain values, as rows and manifests keep them.

        Ways to be faster are named only where they are used: an item's key hashes these values, and
        images made before the ways were known keep theirs.
        """
        values = asdict(self)
        return {
            key: values[key] for key in values if key not in FASTER or values[key] != FASTER[key]
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SamplingSettings":
        """Return the settings that `to_json` wrote."""
        return cls(**values)
