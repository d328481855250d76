"""Images x a reward model -> score rows; what has a row is not scored again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any
from uuid import UUID

import torch

from curate.samples.features import features_of
from curate.samples.renderings import for_backbones
from curate.scoring.conditioning import conditioning_for, conditioning_of
from curate.verified import verified_path
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt
from db.models import RewardModel as RewardModelRow
from generators.base import Prompt as PromptValue
from generators.sample import Sample
from rewards.model import RewardModel

IMAGES_A_BATCH = 64
BATCHES_A_COMMIT = 8  # a killed command loses at most so much


@dataclass(frozen=True)
class Scored:
    """What one call of `score_images` did."""

    reward_model_id: str
    simulated: bool  # the reward model was fitted to simulated ratings
    new: int
    already: int
    unknown: int  # images of a modality of which none was rated: left without a score

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Which:
    """Which images to score; None means every one."""

    version_id: str | None = None
    run_id: str | None = None
    origin: str | None = None  # "real" or "synthetic"


Page = list[tuple[Image, Prompt]]


def score_images(
    ws: Workspace,
    row: RewardModelRow,
    *,
    advance: Callable[[int], None],
    which: Which | None = None,
    model: RewardModel | None = None,
    ahead: Callable[[Iterator[Page]], Iterator[Page]] = iter,
) -> Scored:
    """Score all images, or those of `which`, that this reward model has not scored yet.

    Rows are kept in batches, so that a stopped command goes on where it stood. `advance(n)` is told
    of every n images done. `ahead` is given the pages of images and gives each back when features
    that others compute are in the cache; what it leaves out is computed here.
    """
    which = which or Which()
    model = model or RewardModel.load(verified_path(ws, row.file_sha256))
    _, already = count_scored(ws, row, which)
    num_new = num_unknown = 0
    for page in ahead(_pages(ws, row.id, which)):
        known = known_to(model, page)
        queries.reward_models.add_scores(ws.session, row.id, _scores(ws, model, known))
        num_new += len(known)
        num_unknown += len(page) - len(known)
        advance(len(page))
    _, num_scored = count_scored(ws, row)
    about = {"reward_model": row.id}
    queries.audit.record_result(ws.session, "score", about, {"scores": num_scored})
    return Scored(row.id, row.simulated, num_new, already, num_unknown)


def count_scored(ws: Workspace, row: RewardModelRow, which: Which | None = None) -> tuple[int, int]:
    """Return how many images there are, and how many of them have a score of this model."""
    return queries.reward_models.num_images_and_scores(ws.session, row.id, **vars(which or Which()))


def known_to(model: RewardModel, page: Page) -> Page:
    """Return the images that the model can score: of a modality of which some were rated."""
    return [pair for pair in page if pair[1].modality in model.modalities_]


def _pages(ws: Workspace, reward_model_id: str, which: Which) -> Iterator[Page]:
    after: UUID | None = None
    while page := queries.reward_models.unscored_images(
        ws.session,
        reward_model_id,
        after=after,
        limit=IMAGES_A_BATCH * BATCHES_A_COMMIT,
        **vars(which),
    ):
        yield page
        after = page[-1][0].id


@torch.inference_mode()
def _scores(
    ws: Workspace, model: RewardModel, images: Sequence[tuple[Image, Prompt]]
) -> list[tuple[UUID, float, float]]:
    if not images:
        return []
    mean_B, spread_B = model.predict_features(
        features_of(ws, model.backbone, [image.file_sha256 for image, _ in images]),
        [prompt.modality for _, prompt in images],
        [prompt.text for _, prompt in images],
        conditioning_for(ws, model, [(image.file_sha256, image.prompt_id) for image, _ in images]),
    )
    ids = [image.id for image, _ in images]
    return list(zip(ids, mean_B.tolist(), spread_B.tolist(), strict=True))


@torch.inference_mode()
def predictions(ws: Workspace, model: RewardModel, images: Sequence[Image]) -> list[float]:
    """Return what the model says of these images, 0 .. 1 each; no row is written."""
    prompts = queries.prompts.prompts_of(ws.session, images)
    means_B, _ = model.predict_features(
        features_of(ws, model.backbone, [image.file_sha256 for image in images]),
        [prompt.modality for prompt in prompts],
        [prompt.text for prompt in prompts],
        conditioning_for(ws, model, [(image.file_sha256, image.prompt_id) for image in images]),
    )
    values: list[float] = means_B.tolist()
    return values


@torch.inference_mode()
def scores_of_samples(
    model: RewardModel, prompt: PromptValue, samples: Sequence[Sample]
) -> list[tuple[float, float]] | None:
    """Return (score, spread) of samples of a prompt that have no rows; they share one shape.

    None for a modality of which no image was rated.
    """
    if prompt.modality not in model.modalities_:
        return None
    given = [conditioning_of(prompt)] * len(samples) if prompt.images or prompt.record else []
    mean_B, spread_B = model.predict(
        torch.stack([for_backbones(sample) for sample in samples]),
        [prompt.modality] * len(samples),
        [prompt.text] * len(samples),
        given,
    )
    return list(zip(mean_B.tolist(), spread_B.tolist(), strict=True))


def mean_prediction(ws: Workspace, model: RewardModel, images: Sequence[Image]) -> float:
    """Return the mean of what the model says of these images, 0 .. 1."""
    return fmean(predictions(ws, model, images))
