"""How images are sampled. Stored with every image that it made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from generators.errors import GeneratorError

SAMPLERS = ("ddim", "dpm++", "unipc")
DTYPES = ("float32", "bfloat16")
METHODS = ("instruct", "sdedit", "inversion")
FIRST = ("num_steps", "guidance", "sampler", "eta", "batch_size", "dtype")  # always stored


def setting(default: Any, says: str, **more: Any) -> Any:
    """Return a field with its option's help; what `more` may be says `curate/settings.py`."""
    return field(default=default, metadata={"help": says, **more})


def parse_sides(text: str) -> tuple[int, ...]:
    """Read `--window`: whole numbers with commas between them."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise GeneratorError(f"--window {text}: give the sides in voxels, as 64,64,32.")
    return tuple(int(part) for part in text.split(","))


@dataclass(frozen=True)
class SamplingSettings:
    """Everything beside version, prompt and seed that decides an image's pixels."""

    num_steps: int = setting(
        20, "Sampling steps for each image.", option="--steps", panel="Sampling", min=1
    )
    guidance: float = setting(1.0, "Classifier-free guidance scale; 1: none.")
    sampler: str = setting("ddim", "Sampling algorithm.", choices=SAMPLERS)
    eta: float = 0.0  # DDIM's share of fresh noise: 0 = deterministic, 1 = DDPM's variance
    # a batch's shape changes float sums, so it is kept with the image
    batch_size: int = setting(16, "Images per compute batch.", min=1)
    # inside the denoiser; latents and the scheduler stay float32
    dtype: str = setting("float32", "Number format inside the denoiser.", choices=DTYPES)
    # bfloat16 is faster on a GPU, and up to 1/128 off in a pixel
    decoder_dtype: str = setting(
        "float32", "Number format of the decoder, from latents to pixels.", choices=DTYPES
    )
    # other kernels, other float sums
    channels_last: bool = setting(False, "Use the channels-last memory layout; may be faster.")
    compile: bool = setting(False, "Use torch.compile, on a GPU with CUDA graphs.")
    image_guidance: float | None = setting(
        None, "Guidance scale of the condition images; --guidance then applies to the text only."
    )
    # shares of the noise levels: 1 is pure noise, 0 the image
    guidance_from: float = setting(1.0, "Noise level, 0 to 1, at which guidance starts.")
    guidance_until: float = setting(0.0, "Noise level, 0 to 1, at which guidance ends.")
    strength: float = setting(
        1.0, "Start from each prompt's source image, noised for this share of the steps; 1: noise."
    )
    invert: bool = setting(
        False, "Start from the noise that DDIM inversion finds for each prompt's source image."
    )
    window: tuple[int, ...] | None = setting(
        None,
        "Sides of the windows in which larger images are made, as 64,64,32 (depth, height, width).",
        shown="none; for volumes the generator's own",
        parse=parse_sides,
    )
    overlap: float = setting(0.25, "Share of a window that overlaps with the next one, 0 to 1.")
    method: str = setting(
        "instruct",
        "How a prior is edited: by a network that reads it, or, by any network, from it noised "
        "(sdedit, with --strength) or from its noise maps (inversion).",
        choices=METHODS,
    )
    # noise from (prompt, seed); else from the seed alone: paired, equal seeds of all prompts
    own_noise: bool = False

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
        if not 0 <= self.guidance_until <= self.guidance_from <= 1:
            raise GeneratorError(
                f"Guidance from {self.guidance_from} until {self.guidance_until}: noise levels go "
                "from 1 down to 0."
            )
        if not 0 < self.strength <= 1 or int(self.num_steps * self.strength) < 1:
            raise GeneratorError(
                f"Strength {self.strength} of {self.num_steps} steps is no step. Give a strength "
                "above 0, at most 1, or more steps."
            )
        if self.method not in METHODS:
            raise GeneratorError(f"No method {self.method!r}. Known: {', '.join(METHODS)}.")
        if self.method != "instruct" and self.invert:
            raise GeneratorError(
                f"--method {self.method} and --invert are two ways of starting. Give one of them."
            )
        if self.method == "sdedit" and self.strength == 1:
            raise GeneratorError(
                "--method sdedit at strength 1 starts from noise alone, and nothing of the prior "
                "would be left. Add --strength, such as 0.6."
            )
        if self.starts_from_source and self.sampler != "ddim":
            raise GeneratorError(
                f"{self.sampler} starts from noise alone. Use --sampler ddim with --strength, "
                "--invert or --method."
            )
        if not 0 <= self.overlap < 1 or (self.window is not None and min(self.window) < 1):
            raise GeneratorError(
                f"Window {self.window} with overlap {self.overlap}: sides are 1 or more, and "
                "windows overlap by a share from 0 up to 1, 1 excluded."
            )
        if not 0 <= self.eta <= 1 or (self.eta > 0 and self.sampler != "ddim"):
            raise GeneratorError(
                f"eta {self.eta} with {self.sampler}: eta lies in 0 .. 1, and only ddim takes one "
                "above 0. Use --sampler ddim or eta 0."
            )

    @property
    def is_guided(self) -> bool:
        """Say whether predictions are steered at any noise level."""
        return self.guidance != 1 or self.image_guidance is not None

    @property
    def starts_from_source(self) -> bool:
        """Say whether each prompt must have a source image to start from."""
        return self.strength < 1 or self.invert or self.method != "instruct"

    @property
    def first_step(self) -> int:
        """Return the first step that is taken, counted from the noisiest."""
        return self.num_steps - int(self.num_steps * self.strength)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as rows and manifests keep them.

        What was not there from the first is named only where it is used: an item's key hashes these
        values, and images made before a setting was known keep theirs.
        """
        values, default = asdict(self), asdict(SamplingSettings())
        if self.window is not None:
            values["window"] = list(self.window)  # as JSON has it
        return {key: values[key] for key in values if key in FIRST or values[key] != default[key]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SamplingSettings":
        """Return the settings that `to_json` wrote."""
        window = values.get("window")
        return cls(**{**values, "window": None if window is None else tuple(window)})
