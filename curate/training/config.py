"""Which images a training learns from, and how they are shown to it. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from curate.errors import CurateError

FITS = ("crop", "pad")
REPLAYS = ("none", "images", "prompts")


@dataclass(frozen=True, kw_only=True)
class LessonConfig:
    """What is learned. The routes of self-evolution add to the real images, or stand alone."""

    modalities: tuple[str, ...] = ()  # only these; none named: all
    real: bool = True  # imported images with their texts
    captioner: str | None = None  # real images without a text, captioned by this model
    synthetic: bool = False  # generated images with their prompts as reports
    least_score: float | None = None  # of a generated image, by the newest reward model
    rated: bool = False  # images that people rated, real or generated
    least_rating: float = 3.0  # mean of an image's ratings, 3 = the default rubric's best
    balance: bool = False  # every modality and label as often as the most frequent one

    # continual learning
    replay: str = "none"  # what of the old is shown again: images (imported ones of the other
    # modalities), prompts (images that the start version makes)
    replay_share: float = 0.25  # of every step
    replay_count: int = 8  # images that the start version makes for each replayed prompt

    # how images are shown
    size: int | None = None  # pixels of the square; None: the generator's own
    fit: str = "crop"  # the short side fills the square, or "pad": the long one, black around
    mirror: bool = False  # show half of the images mirrored; refused where a text names a side

    # looking on
    validation_share: float = 0.1  # of patients, where the import names no split
    num_samples: int = 8  # images in the grid that is made at each validation; 0: none
    sample_steps: int = 20

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for holds, needed in (
            (
                self.real or self.captioner or self.synthetic or self.rated,
                "nothing to learn from: real, captioner, synthetic or rated",
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
        return asdict(self) | {"modalities": list(self.modalities)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LessonConfig":
        """Read what `to_json` wrote."""
        return cls(**{**values, "modalities": tuple(values["modalities"])})
