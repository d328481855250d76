"""Which images are learned, which are replayed, and which are held out to validate on."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from curate.errors import CurateError
from curate.modalities import canonical_modality
from curate.training.config import LessonConfig
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.queries.images import ImageToLearn
from db.queries.prompts import NewPrompt
from db.queries.ratings import goodness

MOST_REPEATS = 20  # of a rare label's images in one round: more is learning them by heart


@dataclass(frozen=True)
class Selection:
    """Images by what the training does with them, and remarks for people."""

    learned: list[ImageToLearn]
    replayed: list[ImageToLearn]
    validated: list[ImageToLearn]
    to_caption: list[ImageToLearn] = field(default_factory=list)  # some of `learned`: no text yet
    notes: list[str] = field(default_factory=list)


def select_images(ws: Workspace, config: LessonConfig) -> Selection:
    """Choose from the workspace by the routes that are asked for.

    Raises CurateError when there is nothing to learn, or no modality of that name.
    """
    new = {canonical_modality(name) or name for name in config.modalities}  # or imported as it is
    real = queries.images.images_to_learn(ws.session, origin="real")
    routes, notes = _routes(ws, config, real)
    unique = {(image.prompt_id, image.file_sha256): image for image in routes}
    wanted = [image for image in unique.values() if not new or image.modality in new]
    learned = [i for i in wanted if split_of(i, config.validation_share) == "train"]
    if not learned:
        asked = f" of {', '.join(sorted(new))}" if new else ""
        found = ", ".join(sorted({image.modality for image in routes})) or "no modality"
        raise CurateError(
            f"No image to learn from{asked}: {len(real)} real images in the workspace, "
            f"{len(routes)} by the routes asked for ({found}). Import some, or see "
            "`curate train-generator --help` for --captioner, --synthetic and --rated."
        )
    with_text = [image for image in real if image.text]
    held_out = [i for i in with_text if split_of(i, config.validation_share) == "val"]
    if config.journeys:
        held_out = [i for i in wanted if i.text and split_of(i, config.validation_share) == "val"]
    if not any(not new or image.modality in new for image in held_out):
        more = [i for i in wanted if i.text and split_of(i, config.validation_share) == "val"]
        held_out += [image for image in more if image not in held_out]
    replayed = []
    if config.replay == "images":
        old = [i for i in with_text if i.modality not in new]
        replayed = [i for i in old if split_of(i, config.validation_share) == "train"]
        if not replayed:
            raise CurateError(
                f"No imported image of another modality than {', '.join(sorted(new))} to replay. "
                "Give --replay-prompts FILE: the start version then makes them."
            )
    return Selection(
        learned=balanced(learned) if config.balance else learned,
        replayed=replayed,
        validated=held_out,
        to_caption=[image for image in learned if not image.text],
        notes=notes,
    )


def _routes(
    ws: Workspace, config: LessonConfig, real: Sequence[ImageToLearn]
) -> tuple[list[ImageToLearn], list[str]]:
    images: list[ImageToLearn] = []
    notes = []
    unlabelled = [image for image in real if not image.text]
    if config.real:
        images += [image for image in real if image.text]
    if config.captioner is not None:
        images += unlabelled
        if not unlabelled:
            notes.append("--captioner: every imported image has a text already")
    elif unlabelled:
        notes.append(f"{len(unlabelled)} images without a text are left out: see --captioner")
    if config.synthetic:
        model_id = None
        if config.least_score is not None:
            model_id = queries.reward_models.find_reward_model(ws.session).id
        found = queries.images.images_to_learn(
            ws.session,
            origin="synthetic",
            reward_model_id=model_id,
            least_score=config.least_score,
        )
        if model_id is not None and not found:
            raise CurateError(
                f"No generated image has a score of {config.least_score} or more by reward model "
                f"{model_id[:12]}. Run `curate score`, or lower --least-score."
            )
        images += found
        notes.append("synthetic images teach the generator its own mistakes: see `curate evaluate`")
    if config.rated:
        images += _rated(ws, config, notes)
    if config.journeys:
        images += _journeys(ws)
        notes.append(f"{len(images)} images and pairs of a prior and a later image")
    return images, notes


def _journeys(ws: Workspace) -> list[ImageToLearn]:
    """Return the kept pairs with a text: the later image, shown with its prior and what changed.

    What is learned is the later image as it was laid onto the prior, where it was.
    """
    pairs = queries.journeys.journeys(ws.session, kept=True, described=True)
    if not pairs:
        raise CurateError(
            "No pair with a text in this workspace: `curate journeys import` (or `demo`), then "
            "`curate journeys describe` and `register`."
        )
    prompts = [
        NewPrompt(
            modality=pair.modality,
            text=pair.journey.text or "",
            conditions={"prior": pair.prior.file_sha256},
            images={"prior": pair.prior.id},
        )
        for pair in pairs
    ]
    queries.prompts.add_prompts(ws.session, prompts)
    return [
        ImageToLearn(
            image_id=pair.new.id,
            file_sha256=pair.journey.registered_sha256 or pair.new.file_sha256,
            origin="real",
            patient=pair.journey.patient,
            split=pair.journey.split,
            seed=None,
            prompt_id=prompt.prompt_id,
            modality=prompt.modality,
            text=prompt.text,
            label=None,
            record={},
        )
        for pair, prompt in zip(pairs, prompts, strict=True)
    ]


def _rated(ws: Workspace, config: LessonConfig, notes: list[str]) -> list[ImageToLearn]:
    """Return the images whose ratings are good in the mean; gates and controls do not teach.

    Of several criteria a look's weakest counts.
    """
    looks: dict[tuple[UUID, str, UUID], int] = {}  # campaign, rater and image -> weakest
    ratings = queries.ratings.current_ratings(ws.session, purposes=("train",))
    for rating in ratings:
        look, value = (rating.campaign_id, rating.rater, rating.image_id), goodness(rating)
        looks[look] = min(value, looks.get(look, value))
    verdicts: dict[UUID, list[int]] = defaultdict(list)
    for (_, _, image_id), value in looks.items():
        verdicts[image_id].append(value)
    simulated, total = sum(rating.simulated for rating in ratings), len(ratings)
    good = {i for i, v in verdicts.items() if sum(v) / len(v) >= config.least_rating}
    notes.append(
        f"{len(good)} of {len(verdicts)} rated images have a mean of {config.least_rating:g} or "
        f"more ({simulated} of {total} ratings are simulated)"
    )
    found = queries.images.images_to_learn(ws.session, image_ids=good)
    return [image for image in found if image.text]


def split_of(image: ImageToLearn, validation_share: float) -> str:
    """Return the split that the import names; else val for a share of patients, always the same."""
    if image.split is not None:
        return image.split
    digest = json_hash(["split", image.patient or image.file_sha256])
    return "val" if int(digest[:8], 16) < validation_share * 16**8 else "train"


def balanced(images: Sequence[ImageToLearn]) -> list[ImageToLearn]:
    """Return the images with those of rarer modality and label repeated up to the commonest."""
    counts = Counter((image.modality, image.label) for image in images)
    most = max(counts.values())
    chosen: list[ImageToLearn] = []
    for group, count in counts.items():
        members = [image for image in images if (image.modality, image.label) == group]
        whole, rest = divmod(min(most, count * MOST_REPEATS), count)
        chosen += members * whole + members[:rest]
    return chosen
