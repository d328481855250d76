"""What rating studies are told. Standard library only."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from annotation.config import ServerConfig
from curate.errors import CurateError
from generators.config import setting

SIMULATED = "simulated"  # what the row of a campaign says that simulated raters are asked in
LABEL_STUDIO = "label-studio"  # what it says of people, unless a package brings where they rate
LOCAL = "local"  # pictures that the managed Label Studio serves from this machine
ORIGINS = {"synthetic": ("synthetic",), "real": ("real",), "both": ("synthetic", "real")}
PURPOSES = ("train", "calibration")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where raters' browsers get the pictures."""

    images_from: str = setting(
        LOCAL,
        "Where raters' browsers load images from: local, the image service's address, or a store, "
        "such as s3://bucket/x.",
        panel="Where",
    )


def parse_among(text: str) -> frozenset[UUID]:
    """Read `--among`: the image ids in a CSV's column `image_id`, as the site writes it."""
    try:
        with Path(text).open(encoding="utf-8-sig", newline="") as file:
            found = frozenset(UUID(row["image_id"]) for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CurateError(
            f"--among {text}: give a CSV with a column image_id, as the page Images saves it."
        ) from error
    if not found:
        raise CurateError(f"--among {text}: it names no image.")
    return found


@dataclass(frozen=True, kw_only=True)
class PracticeOptions:
    """What raters practise on, and what they have to meet."""

    known: Path | None = setting(
        None,
        "CSV of images whose answers are known: image_id, criterion:NAME, and if wished why and "
        "spoiled.",
        panel="Which images",
    )
    num_controls: int | None = setting(
        None,
        "Number of real images to add, every other one spoiled.",
        option="--controls",
        shown="20; none with --known",
        min=0,
    )
    modalities: tuple[str, ...] = setting(
        (), "Add real images of this modality only; repeat for several.", option="--modality"
    )
    rubric: Path | None = setting(
        None,
        "TOML file with the questions to ask.",
        shown="as `curate rate push` asks",
        panel="What is asked",
    )
    pass_size: int | None = setting(
        None, "Number of images in a pass.", option="--images", shown="all", min=1
    )
    bar: float = setting(0.8, "Share of a pass that must be right, above 0 to 1.")
    seed: int = setting(0, "Seed of the draw and the orders.")


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """What people are asked."""

    name: str = setting(
        "",
        "Name of the campaign; an existing one is completed.",
        shown="with --loop: its own",
        panel="Which images",
    )
    select: str = setting("all", "How images are chosen.", choices=("all", "version", "active"))
    # calibration is kept out of training
    purpose: str = setting(
        "train",
        "What the ratings are for; calibration: the promise of a release.",
        choices=PURPOSES,
    )
    version: str | None = setting(None, "Generator version for --select version.")
    origin: str = setting("synthetic", "Kind of images.", choices=tuple(ORIGINS))
    max_images: int | None = setting(
        None, "Number of images to choose.", option="--images", shown="all unrated", min=1
    )
    among: frozenset[UUID] | None = setting(
        None,
        "Only the images of this CSV, by its column image_id.",
        shown="all",
        parse=parse_among,
    )
    pairs: bool = setting(
        False, "Ask raters to compare two images of a prompt.", panel="What is asked"
    )
    rubric: Path | None = setting(
        None, "TOML file with the questions to ask.", shown="real, and as asked: 1 to 3 each"
    )
    raters: tuple[str, ...] = setting(
        (),
        "Ask only this rater; repeat for several.",
        option="--rater",
        shown="all active people",
        panel="Who is asked",
    )
    overlap: int = setting(2, "Number of raters for each image.")
    backend: str = setting(
        LABEL_STUDIO, "Where people rate: label-studio, or a place that a package brings."
    )
    # half known real, half known bad
    control_fraction: float = setting(
        0.1, "Controls of known quality, as a share of the images, 0 to 1.", option="--controls"
    )
    repeat_fraction: float = setting(
        0.05, "Share of images shown to a rater a second time, 0 to 1.", option="--repeats"
    )
    practice: str | None = setting(
        None, "Practice that each rater passes before an image is shown.", shown="none"
    )
    seed: int = setting(0, "Seed of the draw, the assignment and the orders.")
    rubric_id: UUID | None = None  # of the loop that these belong to; None: as for others


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
        "Real images shown to every rater, as a share of the images, 0 to 1.",
        option="--controls",
    )
    repeat_fraction: float = setting(
        0.05, "Share of images shown to a rater a second time, 0 to 1.", option="--repeats"
    )
    purpose: str = setting(
        "train",
        "What the ratings are for; calibration: the promise of a release.",
        choices=PURPOSES,
    )
    practice: str | None = setting(
        None, "Practice that each rater passes before an image is shown.", shown="none"
    )
    seed: int = setting(0, "Seed of the draw, the assignment and the orders.")
    among: frozenset[UUID] | None = None  # only these images; None: all
    rubric_id: UUID | None = None  # of the loop that these belong to; None: as for others


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Which model rates, and what of the workspace may be sent to it."""

    url: str = field(
        metadata={
            "help": "Address of the model's OpenAI-compatible API: http://127.0.0.1:8000/v1.",
            "panel": "Which model",
        }
    )
    model: str = field(metadata={"help": "Name of the model there."})
    key: str | None = setting(
        None, "File with its API key, or - for standard input.", shown="CURATE_MACHINE_KEY"
    )
    timeout_s: float = setting(
        120.0, "Seconds to wait for a reply before asking again.", option="--timeout", min=1
    )
    prompt_price: float = setting(
        0.0, "Price of a million prompt tokens, in your currency, to add up the cost.", min=0
    )
    reply_price: float = setting(0.0, "Price of a million tokens of replies.", min=0)
    images_may_leave: bool = setting(
        False,
        "Allow an address that is not on this machine: images, and what they were asked to show, "
        "are sent there.",
        option="--images-may-leave",
        panel="What may be sent",
    )
    real_images_may_leave: bool = setting(
        False,
        "Send real images there too, and all that was given for an image; not without "
        "--images-may-leave.",
        option="--real-images-may-leave",
    )
    name: str | None = setting(
        None,
        "Name of the machine's own campaign.",
        shown="the campaign's and the model's",
        panel="What is asked",
    )
    repeat_fraction: float = setting(
        0.05, "Share of images shown to it a second time, 0 to 1.", option="--repeats"
    )
    again: bool = setting(False, "Ask again where a reply went into quarantine.", option="--again")


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """Which promise the ratings are to carry, and how many are thought of."""

    target_precision: float = setting(
        0.95, "Share of good images to be promised, 0 to 1.", panel="What is promised"
    )
    confidence: float = setting(0.95, "Confidence of the promise, 0 to 1.")
    num_images: tuple[int, ...] = setting(
        (),
        "Number of images to be rated; repeat for several.",
        option="--images",
        shown="100, 200, 300, 500",
        panel="How much is rated",
    )
    overlap: int = setting(2, "Number of raters for each image.", min=1)
    rise: float | None = setting(
        None,
        "Plan a gate instead: the rise of the share rated top that it should find, as 0.05.",
        shown="none",
        min=0.001,
        max=1.0,
        panel="A gate",
    )
    power: float = setting(
        0.8, "With --rise: chance that the gate finds it, 0 to 1.", min=0.01, max=0.999
    )
    version: str | None = setting(
        None, "Only images of this generator version.", shown="all", panel="What is known"
    )
    reward_model: str = setting(
        "latest", "Reward model whose scores decide: an id or the first digits of one."
    )
    seed: int = setting(0, "Seed of the draws that are played through.")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where things listen, or whose server is used."""

    # what raters reach: the door before Label Studio
    server: ServerConfig = field(default_factory=ServerConfig, metadata={"options": True})
    # as raters' browsers know it, if not by that
    address: str | None = setting(
        None,
        "Address that raters use, such as https://labels.example.org.",
        shown="host and port",
    )
    url: str | None = setting(
        None, "Address of a Label Studio that is already running.", shown="one of our own"
    )
    token: str | None = setting(
        None,
        "File with its access token, or - for standard input.",
        shown="CURATE_LABEL_STUDIO_TOKEN",
    )
