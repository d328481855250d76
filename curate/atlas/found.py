"""What a search shows: images that may be shown now, with what is known of each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from curate.atlas.words import words_of, words_of_prompts
from curate.errors import CurateError
from curate.modalities import canonical_modality
from curate.workspace import Workspace
from db import queries
from db.bulk import in_parts
from db.queries.atlas import VettedImage

BLOCK = 200  # images looked up at once
MOST_DISTANCES = 40  # of prompts, after which a word search has looked far enough


@dataclass(frozen=True)
class Found:
    """One image that a search shows."""

    image_id: UUID
    file_sha256: str
    origin: str
    modality: str
    finding: str | None
    text: str
    distance: float  # of images 0 .. 2, of words 0 .. 1; 0: the same
    score: float | None  # the latest reward model's
    spread: float | None
    simulated_score: bool  # learned from simulated ratings
    num_good: int  # of the looks that raters had
    num_looks: int
    simulated_ratings: bool
    release: str | None  # the newest that kept it
    version_id: str | None
    seed: int | None
    source: str | None
    licence: str | None

    @property
    def label(self) -> str | None:
        """Return the finding, as cards of the gallery name it."""
        return self.finding

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {**asdict(self), "image_id": str(self.image_id)}


def known_modality(name: str | None) -> str | None:
    """Return our name of a modality; what the table does not know may be the workspace's own."""
    return name and (canonical_modality(name) or name)


def search_words(ws: Workspace, text: str, *, modality: str | None, count: int) -> list[Found]:
    """Return images whose prompts are nearest to words, of equally near ones the best first.

    "OCT: drusen" asks for OCT alone. Raises CurateError for a text without words.
    """
    before, colon, after = text.partition(":")
    if colon and modality is None and (named := canonical_modality(before)):
        text, modality = after, named
    if not words_of(text):
        raise CurateError("Nothing to search for: give words, or an image's file or id.")
    index = words_of_prompts(queries.atlas.prompts(ws.session))
    near = index.nearest(text, known_modality(modality))[:MOST_DISTANCES]
    model, waiting = _reward_model_id(ws), queries.atlas.campaigns_that_wait(ws.session)
    chosen = [
        (image, distance)
        for origin in queries.atlas.origins_that_may_be(ws.session)
        for image, distance in islice(
            (
                (image, distance)
                for distance, prompts in near
                for some in in_parts(prompts)
                for image in queries.atlas.vetted(
                    ws.session,
                    prompt_ids=some,
                    origin=origin,
                    reward_model_id=model,
                    limit=count,
                    waiting=waiting,
                )
            ),
            count,
        )
    ]
    return _with_facts(ws, chosen)


def nearest_that_may_be_shown(
    ws: Workspace, ranked: Iterable[tuple[UUID, float]], *, count: int, but: str | None = None
) -> list[Found]:
    """Return the first so many of each origin, of images in order of distance.

    What may be shown is asked now, whatever was known when the order was made. Left out are images
    of the pixels `but`, and of images of equal pixels all but the first.
    """
    chosen: dict[str, list[tuple[VettedImage, float]]] = {
        origin: [] for origin in queries.atlas.origins_that_may_be(ws.session)
    }
    seen = {but}
    for block in _blocks(ranked):
        distances = dict(block)
        images = {
            image.image_id: image
            for image in queries.atlas.vetted(
                ws.session, image_ids=list(distances), reward_model_id=_reward_model_id(ws)
            )
        }
        for image_id in distances:
            image = images.get(image_id)
            if image is None or image.pixels_sha256 in seen:
                continue
            seen.add(image.pixels_sha256)
            if len(chosen[image.origin]) < count:
                chosen[image.origin].append((image, distances[image_id]))
        if all(len(some) == count for some in chosen.values()):
            break
    return _with_facts(ws, [one for some in chosen.values() for one in some])


def _blocks(ranked: Iterable[tuple[UUID, float]]) -> Iterator[list[tuple[UUID, float]]]:
    rest = iter(ranked)
    while block := list(islice(rest, BLOCK)):
        yield block


def _reward_model_id(ws: Workspace) -> str | None:
    models = queries.reward_models.reward_models(ws.session, "reward")
    return models[-1].id if models else None


def _with_facts(ws: Workspace, chosen: Sequence[tuple[VettedImage, float]]) -> list[Found]:
    """Add releases and ratings; nearest first."""
    session = ws.session
    ids = [image.image_id for image, _ in chosen]
    models = queries.reward_models.reward_models(session, "reward")
    releases = queries.atlas.releases_that_kept(session, ids)
    looks = queries.ratings.looks_good(queries.ratings.current_ratings(session, image_ids=ids))
    found = []
    for image, distance in sorted(chosen, key=lambda one: (one[1], -(one[0].score or 0))):
        values = asdict(image)
        del values["pixels_sha256"]
        own = [(view, good) for view, good in looks if view.image_id == image.image_id]
        found.append(
            Found(
                **values | {"finding": values.pop("label")},
                distance=distance,
                simulated_score=bool(models and models[-1].simulated and image.score is not None),
                num_good=sum(good for _, good in own),
                num_looks=len(own),
                simulated_ratings=any(view.simulated for view, _ in own),
                release=releases.get(image.image_id),
            )
        )
    return found
