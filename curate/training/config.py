"""Which images a training learns from, and how they are shown to it. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from generators.config import setting
from generators.rl.config import usual

FITS = ("crop", "pad")
REPLAYS = ("none", "images", "prompts")


@dataclass(frozen=True, kw_only=True)
class LessonConfig:
    """What is learned. The routes of self-evolution add to the real images, or stand alone."""

    modalities: tuple[str, ...] = setting(
        (),
        "Learn only this modality; repeat for several.",
        option="--modality",
        shown="all",
        panel="What to learn from",
    )
    real: bool = setting(True, "Learn from imported images with a text.", option="--real/--no-real")
    captioner: str | None = setting(
        None,
        "Also learn from images without a text, captioned by this transformers folder or hub name.",
    )
    synthetic: bool = setting(False, "Also learn from generated images with their prompts.")
    least_score: float | None = setting(
        None, "Lowest score of a --synthetic image by the newest reward model.", shown="any"
    )
    long_captions: str = setting(
        "refuse",
        "What to do with captions that are too long for the generator.",
        choices=("refuse", "truncate", "skip"),
    )
    rated: bool = setting(
        False, "Also learn from images that people rated well."
    )  # real or generated
    # 3 = the default rubric's best
    least_rating: float = setting(3.0, "Lowest mean rating of a --rated image.")
    journeys: bool = setting(
        False, "Also learn from pairs of a prior and a later image (`curate journeys`)."
    )
    balance: bool = setting(False, "Show rare modalities and labels as often as common ones.")

    # continual learning. images: imported ones of the other modalities; prompts: images that the
    # start version makes
    replay: str = setting(
        "none",
        "Earlier material to show again, against forgetting.",
        choices=REPLAYS,
        panel="Continual learning",
    )
    replay_share: float = setting(0.25, "Share of each step's images that are replayed, 0 to 1.")
    replay_count: int = 8  # images that the start version makes for each replayed prompt

    # how images are shown
    size: int | None = setting(
        None,
        "Side of the square images, in pixels.",
        shown="the generator's own",
        panel="How images are shown",
    )
    fit: str = setting(
        "crop",
        "How images become square: crop the long side, or pad the short one with black.",
        choices=FITS,
    )
    mirror: bool = setting(
        False, "Mirror half of the images; not possible where a text names a side."
    )

    # looking on
    validation_share: float = setting(
        0.1, "Share of patients held out if the import named no split, 0 to 1.", panel="Progress"
    )
    num_samples: int = setting(
        8, "Images in the sample grid of each validation; 0: no grid.", option="--samples"
    )
    sample_steps: int = 20
    keep_every: int = setting(
        0,
        "Steps between averaged weights kept as versions, for `curate evaluate --along`; a "
        "multiple of --validate-every, 0: none.",
        min=0,
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for holds, needed in (
            (
                self.real or self.captioner or self.synthetic or self.rated or self.journeys,
                "nothing to learn from: real, captioner, synthetic, rated or journeys",
            ),
            (self.fit in FITS, f"fit is one of {', '.join(FITS)}"),
            (self.replay in REPLAYS, f"replay is one of {', '.join(REPLAYS)}"),
            (0 < self.replay_share < 1, "replay_share lies between 0 and 1"),
            (0 <= self.validation_share < 1, "validation_share lies in 0 .. 1, 1 excluded"),
            (
                min(self.replay_count, self.sample_steps) >= 1 and self.num_samples >= 0,
                "replay_count and sample_steps are 1 or more, num_samples 0 or more",
            ),
            (
                self.replay != "images" or self.modalities,
                "replay images needs --modality: which ones are new",
            ),
        ):
            if not holds:
                raise CurateError(f"These settings cannot be run: {needed}. Found: {self}.")

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        values = asdict(self) | {"modalities": list(self.modalities)}
        del values["long_captions"]  # what came of it stands in the examples
        del values["keep_every"]  # it changes nothing that is learned
        return {name: value for name, value in values.items() if name != "journeys" or value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LessonConfig":
        """Read what `to_json` wrote."""
        return cls(**{**values, "modalities": tuple(values["modalities"])})


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """Read `--set NAME=VALUE` texts."""
    named = dict(text.partition("=")[::2] for text in texts)
    if "" in named or not all("=" in text for text in texts):
        raise CurateError(f"--set {' --set '.join(texts)}: give NAME=VALUE, as in --set seed=1.")
    return {name.strip().replace("-", "_"): value for name, value in named.items()}


@dataclass(frozen=True, kw_only=True)
class FamilyChoice:
    """A family to begin a generator of, from nothing or out of a version that was named."""

    family: str | None = setting(
        None,
        "Begin a generator of this family, from --version or --base if one is given.",
        shown="go on from a version",
        panel="Which generator",
    )
    settings: tuple[str, ...] = setting(
        (), "A setting of --family, as NAME=VALUE; repeat for several.", option="--set"
    )


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """Where else a training's figures go."""

    report_to: tuple[str, ...] = setting(
        (),
        "Send figures and sample images to this tracker too; repeat for several.",
        choices=("tensorboard", "mlflow", "wandb", "trackio"),
        shown="none",
        panel="Progress",
    )


@dataclass(frozen=True, kw_only=True)
class RLStepOptions:
    """What an RL step starts from, what it follows and on which prompts."""

    version: str = setting(
        "latest",
        "Generator version to start from: an id or the first digits of one.",
        panel="What it starts from",
    )
    reward_model: str = setting(
        "latest", "Reward model to optimise: an id or the first digits of one."
    )
    sheet: Path | None = setting(
        None,
        "CSV of prompts with columns modality, text and optionally label.",
        option="--prompts",
        shown="those of the rated images",
    )
    from_ratings: bool = setting(False, "For nft: learn from rated images, without a reward model.")
    roots: int | None = setting(
        None,
        "Roots per prompt, instead of --group-size, which is roots x branches.",
        shown=f"{usual().group_size // usual().branches} for window",
        min=1,
        panel="How it learns",
    )
