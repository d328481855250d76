"""What images are made of, how many and where. Standard library only."""

from dataclasses import dataclass, field
from pathlib import Path

from generators.config import SamplingSettings, setting


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """A Ray cluster, and how many of its processes train."""

    address: str | None = setting(
        None,
        "Share the work on Ray: a cluster's HOST:PORT, auto or local (this machine).",
        option="--ray",
        panel="Where",
    )
    num_workers: int | None = setting(
        None,
        "Processes that train together, with --ray.",
        option="--ray-workers",
        shown="all GPUs, or else all CPUs",
        min=1,
    )


@dataclass(frozen=True, kw_only=True)
class GeneratorChoice:
    """A generator version of the workspace, or weights that become one."""

    version: str | None = setting(
        None,
        "Generator version: an id or its beginning.",
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
    records: Path | None = setting(None, "CSV of clinical records, by patient or image.")
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
    count: int = setting(10, "Images of each prompt.")
    balance: int | None = setting(
        None, "Bring each label to this many images instead, real ones included.", min=1
    )
    first_seed: int = setting(0, "Seed of each prompt's first image.", option="--seed", min=0)
    generator: GeneratorChoice = field(default_factory=GeneratorChoice, metadata={"options": True})
    settings: SamplingSettings = field(metadata={"options": True})
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:1.", panel="Where")
    ray: RayConfig = field(default_factory=RayConfig, metadata={"options": ("address",)})
    dry_run: bool = setting(False, "Only say how many images are missing.", panel="Options")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Which shapes and settings are tried, and where."""

    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:1.", panel="Where")
    largest_batch: int = setting(64, "Largest compute batch to try, in images.", min=1)
    compiling: bool = setting(False, "Try torch.compile, too; takes minutes.", option="--compile")
