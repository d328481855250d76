"""What images are made of, how many and where. Standard library only."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from generators.config import SamplingSettings, setting


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """A Ray cluster, and how many of its processes train."""

    address: str | None = setting(
        None,
        "Distribute the work with Ray: a cluster's HOST:PORT, auto or local (this machine).",
        option="--ray",
        panel="Where",
    )
    num_workers: int | None = setting(
        None,
        "Number of training processes, with --ray.",
        option="--ray-workers",
        shown="all GPUs, or else all CPUs",
        min=1,
    )


@dataclass(frozen=True, kw_only=True)
class GeneratorChoice:
    """A generator version of the workspace, or weights that become one."""

    version: str | None = setting(
        None,
        "Generator version: an id or the first digits of one.",
        shown="latest, or the embedded model",
        panel="Which generator",
    )
    base: str | None = setting(
        None, "Stable Diffusion (1.x, XL, 3) folder or hub name to use instead."
    )
    unet: str | None = setting(None, "Folder of a separate U-Net for --base.")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What to make, how many, with which version, and where."""

    sheet: Path | None = setting(
        None,
        "CSV of prompts with columns modality, text and optionally label, count, seed.",
        option="--prompts",
        panel="What to make",
    )
    records: Path | None = setting(None, "CSV of clinical records with a column patient or image.")
    texts: tuple[str, ...] = setting(
        (), 'A prompt\'s text, or "OCT: drusen"; repeat for several.', option="--prompt"
    )
    modalities: tuple[str, ...] = setting(
        (),
        "Modality of --prompt, or of sheet lines that name none; repeat for several.",
        option="--modality",
    )
    prior: str | None = setting(
        None, "Prior image of --prompt: a file, or the id or SHA-256 of one in the workspace."
    )
    keep: Path | None = setting(
        None, "Mask drawn on --prior: white may change, and outside it the prior stays."
    )
    grid: Path | None = setting(
        None,
        "Make one image of --prior at each of three text scales by three image scales, "
        "and write them as one picture here.",
    )
    count: int = setting(10, "Images per prompt.")
    balance: int | None = setting(
        None, "Instead, fill each label up to this many images, real ones included.", min=1
    )
    first_seed: int = setting(0, "Seed of the first image of each prompt.", option="--seed", min=0)
    paired_seeds: bool | None = setting(
        None,
        "Same noise for the same seed in all prompts, instead of separate noise for each prompt.",
        option="--paired-seeds/--own-seeds",
        shown="as the workspace was begun",
    )
    generator: GeneratorChoice = field(default_factory=GeneratorChoice, metadata={"options": True})
    settings: SamplingSettings = field(metadata={"options": True})
    device: str = setting("auto", "Device to compute on: auto, cpu, cuda or cuda:1.", panel="Where")
    ray: RayConfig = field(default_factory=RayConfig, metadata={"options": ("address",)})
    dry_run: bool = setting(False, "Only say how many images are missing.", panel="Options")

    def with_noise(self, *, own: bool) -> "GenerateOptions":
        """Return these options, settled: noise as asked for, else as is the custom."""
        own = own if self.paired_seeds is None else not self.paired_seeds
        settings = replace(self.settings, own_noise=own)
        return replace(self, settings=settings, paired_seeds=not own)


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Which shapes and settings are tried, and where."""

    device: str = setting("auto", "Device to compute on: auto, cpu, cuda or cuda:1.", panel="Where")
    largest_batch: int = setting(64, "Largest batch size to try.", min=1)
    compiling: bool = setting(
        False, "Also try torch.compile, which takes minutes.", option="--compile"
    )
