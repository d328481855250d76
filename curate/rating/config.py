"""What rating studies are told. Standard library only."""

from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from annotation.config import ServerConfig
from generators.config import setting

SIMULATED = "simulated"  # what the row of a campaign says that simulated raters are asked in
LOCAL = "local"  # pictures that the managed Label Studio serves from this machine
ORIGINS = {"synthetic": ("synthetic",), "real": ("real",), "both": ("synthetic", "real")}
PURPOSES = ("train", "calibration")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where raters' browsers get the pictures."""

    images_from: str = setting(
        LOCAL,
        "Where people's pictures come from: local, the image service's address, or a store like "
        "s3://bucket/x.",
        panel="Where",
    )


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """What people are asked."""

    name: str = setting(
        "",
        "Name of the campaign; one that exists is completed.",
        shown="with --loop: its own",
        panel="Which images",
    )
    select: str = setting("all", "How images are chosen.", choices=("all", "version", "active"))
    # calibration is kept out of training
    purpose: str = setting(
        "train", "What ratings are for; calibration: the promise of a release.", choices=PURPOSES
    )
    version: str | None = setting(None, "Generator version for --select version.")
    origin: str = setting("synthetic", "Kind of images.", choices=tuple(ORIGINS))
    max_images: int | None = setting(
        None, "Number of images to choose.", option="--images", shown="all unrated", min=1
    )
    pairs: bool = setting(False, "Compare two images of a prompt.", panel="What is asked")
    rubric: Path | None = setting(None, "TOML file of what is asked.", shown="one grade, 1 to 3")
    raters: tuple[str, ...] = setting(
        (),
        "Rater to ask; repeat for several.",
        option="--rater",
        shown="all active people",
        panel="Who is asked",
    )
    overlap: int = setting(2, "Number of raters for each image.")
    # half known real, half known bad
    control_fraction: float = setting(
        0.1, "Images of known worth, as a share of the images, 0 to 1.", option="--controls"
    )
    repeat_fraction: float = setting(
        0.05, "Share of images that a rater sees a second time, 0 to 1.", option="--repeats"
    )
    seed: int = setting(0, "Seed of the draw, the shares and the orders.")
    among: frozenset[UUID] | None = None  # only these images; None: all


@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """What simulated raters are asked."""

    # None: finish what was begun, then a new one with the next number
    name: str | None = setting(
        None,
        "Name of the campaign.",
        shown="what was begun, else the next number",
        panel="Which images",
    )
    max_images: int | None = setting(
        None, "Number of images to draw at random.", option="--images", shown="all unrated", min=1
    )
    origin: str = setting("synthetic", "Kind of images.", choices=tuple(ORIGINS))
    version: str | None = setting(None, "Only images of this generator version.")
    num_raters: int = setting(
        3, "Number of simulated raters.", option="--raters", min=1, panel="Who is asked"
    )
    overlap: int = setting(2, "Number of raters for each image.")
    control_fraction: float = setting(
        0.05,
        "Real images that all rate, as a share of the images, 0 to 1.",
        option="--controls",
    )
    repeat_fraction: float = setting(
        0.05, "Share of images that a rater sees a second time, 0 to 1.", option="--repeats"
    )
    purpose: str = setting(
        "train", "What ratings are for; calibration: the promise of a release.", choices=PURPOSES
    )
    seed: int = setting(0, "Seed of the draw, the shares and the orders.")
    among: frozenset[UUID] | None = None  # only these images; None: all


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where things listen, or whose server is used."""

    # what raters reach: the door before Label Studio
    server: ServerConfig = field(default_factory=ServerConfig, metadata={"options": True})
    # as raters' browsers know it, if not by that
    address: str | None = setting(
        None,
        "Address to tell raters, like https://labels.example.org.",
        shown="host and port",
    )
    url: str | None = setting(
        None, "Address of a Label Studio that runs already.", shown="one of our own"
    )
    token: str | None = setting(
        None,
        "File that holds its token, or - for standard input.",
        shown="CURATE_LABEL_STUDIO_TOKEN",
    )
