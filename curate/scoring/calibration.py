"""Rated images that were drawn at random: what a promise about a release may rest on.

A draw speaks for the images that it was from: those that were there at that moment and that no
campaign had taken. It speaks of a score only if the reward model learned from none of them.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from curate.errors import CurateError
from curate.scoring.promise import Promise, num_needed
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import Campaign
from db.queries.draws import DrawnImage
from db.queries.ratings import RatingView, content_of, goodness, looks_good

RANDOM = ("random", "all", "version")  # ways to choose that ask nothing of the images
NUM_SUGGESTED = 300  # images: a draw that certifies a mixed but decent set about as often as not


@dataclass(frozen=True)
class Calibration:
    """One draw with what its raters agreed on."""

    campaign: str
    simulated: bool  # its raters are networks
    machines: tuple[str, ...]  # that count among its raters
    pool: Collection[UUID]  # the images that the draw was from
    good: Mapping[UUID, bool | None]  # of the drawn images; None: no consensus, nobody answered
    criteria: Sequence[str]
    good_from: Mapping[str, int]  # criterion -> least consensus that counts as good
    num_ratings: int
    ratings_sha256: str  # of the ratings that the consensus is made of
    pool_sha256: str  # of the pool's item keys
    # criterion -> (answers that reach its least, answers); empty where there is one criterion
    by_criterion: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def share_rated(self) -> float:
        """The chance that an image of the pool had to be drawn."""
        return len(self.good) / len(self.pool)


def find_calibration(
    ws: Workspace,
    *,
    promise: Promise,
    reward_model_id: str,
    campaign: str | None,
    good: int | None,
    version_id: str | None,
    machines: Sequence[str] = (),
) -> Calibration:
    """Return the draw of this campaign, or of the latest that has drawn from the version.

    An image is good for a rater who grades it `good` or better (the best value unless set) on every
    criterion that the reward model was fitted to; and it is good when the lower median of its
    raters find it so: with two raters both must. Of `machines` those that are named are raters too.
    Raises CurateError when no draw can carry the promise.
    """
    row, drawn = _draw(ws, campaign, version_id, promise)
    pool = _pool(ws, row, drawn)
    learned = queries.reward_models.images_behind(ws.session, reward_model_id) & set(pool)
    if learned:
        raise CurateError(
            f"Reward model {reward_model_id[:12]} learned from {len(learned)} of the images that "
            f"campaign {row.name!r} drew from: its scores of them say nothing about others. Draw "
            "again now that it is fitted: `curate rate push --purpose calibration`."
        )
    asked = queries.reward_models.criteria_behind(ws.session, reward_model_id)
    queries.ratings.require_rated(ws.session, row.id, machines)
    rated = _said_of_draw(ws, row, machines)
    views = [view for view in rated if not asked or view.criterion in asked]
    if not views:
        known = ", ".join(sorted({view.criterion for view in rated})) or "nothing yet"
        raise CurateError(
            f"Campaign {row.name!r} has no rating on {', '.join(sorted(asked)) or 'any criterion'} "
            f"(rated: {known}). Let its raters answer, then `curate rate pull`."
        )
    scales = {view.criterion: (view.min_value, view.max_value) for view in views}
    for name, (low, high) in scales.items():
        if good is not None and not low < good <= high:
            raise CurateError(
                f"Good from {good} on, but {name} goes from {low} to {high} and all of it would "
                f"be {'good' if good <= low else 'bad'}. Choose {low + 1} to {high}."
            )
    good_from = {name: high if good is None else good for name, (_, high) in scales.items()}
    said = verdicts(views, good_from)
    found = Calibration(
        campaign=row.name,
        simulated=row.simulated,
        machines=tuple(machines),
        pool=frozenset(pool),
        good={image.image_id: said.get(image.image_id) for image in drawn},
        criteria=sorted(good_from),
        good_from=good_from,
        num_ratings=len(views),
        ratings_sha256=_ratings_hash(views),
        pool_sha256=_hash(pool.values()),
        by_criterion=_beside(views, good_from) if len(good_from) > 1 else {},
    )
    answered = sum(verdict is not None for verdict in found.good.values())
    needed = num_needed(promise)
    if answered < needed:
        raise CurateError(
            f"{answered} of the {len(found.good)} images of campaign {found.campaign!r} are rated, "
            f"but {_in_words(promise)} needs at least {needed}, all good. Fetch the answers with "
            "`curate rate pull`, or draw more into a new campaign."
        )
    return found


def ratings_now(
    ws: Workspace, row: Campaign, good_from: Mapping[str, int], machines: Sequence[str] = ()
) -> tuple[dict[UUID, bool], tuple[str, str]]:
    """Return what a draw's raters say now, by image, and the hashes of the ratings that say it.

    The second is the one of releases up to 0.2.0, which went by the ids of the ratings' rows.
    """
    views = [v for v in _said_of_draw(ws, row, machines) if v.criterion in good_from]
    by_id = _hash(f"{view.rating_id} {goodness(view)}" for view in views)
    return verdicts(views, good_from), (_ratings_hash(views), by_id)


def _said_of_draw(ws: Workspace, row: Campaign, machines: Sequence[str]) -> list[RatingView]:
    rated = queries.ratings.current_ratings(
        ws.session, campaign_id=row.id, purposes=[queries.campaigns.PURPOSE]
    )
    return rated + queries.ratings.ratings_of_machines(ws.session, row.id, machines)


def _draw(
    ws: Workspace, name: str | None, version_id: str | None, promise: Promise
) -> tuple[Campaign, list[DrawnImage]]:
    for row in reversed(queries.draws.calibration_campaigns(ws.session)):
        drawn = queries.draws.drawn_images(ws.session, row.id)
        from_version = version_id is None or version_id in {i.version_id for i in drawn}
        if row.name == name or (name is None and from_version):
            methods = {image.selection_method for image in drawn}
            chances = {image.inclusion_probability for image in drawn}
            if not methods <= set(RANDOM) or len(chances) > 1:
                raise CurateError(
                    f"Campaign {row.name!r} chose its images ({', '.join(sorted(methods))}; "
                    f"chances {min(chances):.3g} to {max(chances):.3g}); a promise needs a draw "
                    "that gives every image the same chance. Name another one with --calibration."
                )
            if any(image.origin != "synthetic" for image in drawn):
                raise CurateError(
                    f"Campaign {row.name!r} drew real images too, and a promise is about generated "
                    "ones. Name another one with --calibration."
                )
            return row, drawn
    missing = "No calibration ratings" if name is None else f"No calibration campaign {name!r}"
    which = f" --select version --version {version_id[:12]}" if version_id else ""
    raise CurateError(
        f"{missing}{' of version ' + version_id[:12] if version_id else ''}: "
        f"{_in_words(promise)} needs a random draw, rated by people after `curate train-reward`. "
        f"At least {num_needed(promise)} images if every one is good; {NUM_SUGGESTED} are a sound "
        f"start: `curate rate push --name draw --purpose calibration --images "
        f"{NUM_SUGGESTED}{which}` (or `curate rate simulate` with the same --purpose and --images)."
    )


def _pool(ws: Workspace, row: Campaign, drawn: Sequence[DrawnImage]) -> dict[UUID, str]:
    """Return what the draw was from, with item keys.

    Its size must be what the images' chance says it was.
    """
    size = round(len(drawn) / drawn[0].inclusion_probability)
    there = queries.draws.unrated_before(ws.session, row.created_at)
    versions = {image.version_id for image in drawn}
    modalities = {image.modality for image in drawn}
    # all that was there, or only the draw's modalities, versions, or both
    for by_modality, by_version in ((False, False), (True, False), (False, True), (True, True)):
        pool = {
            image.image_id: image.item_key
            for image in there
            if not (by_modality and image.modality not in modalities)
            and not (by_version and image.version_id not in versions)
        }
        if len(pool) == size and {image.image_id for image in drawn} <= set(pool):
            return pool
    raise CurateError(
        f"Campaign {row.name!r} drew {len(drawn)} of {size} images, but {len(there)} were there "
        "and unrated at that moment: what it speaks for cannot be told. Draw again, from all "
        "images or from one generator version."
    )


def verdicts(views: Sequence[RatingView], good_from: Mapping[str, int]) -> dict[UUID, bool]:
    """Return by image whether its consensus, the lower median of its raters, is good."""
    found: dict[UUID, list[bool]] = defaultdict(list)
    for view, is_good in looks_good(views, good_from):
        found[view.image_id].append(is_good)
    return {image_id: sorted(own)[(len(own) - 1) // 2] for image_id, own in found.items()}


def _beside(
    views: Sequence[RatingView], good_from: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    reached = Counter(v.criterion for v in views if goodness(v) >= good_from[v.criterion])
    answered = Counter(view.criterion for view in views)
    return {name: (reached[name], answered[name]) for name in sorted(answered)}


def _in_words(promise: Promise) -> str:
    return f"{100 * promise.target:g} % good at {100 * promise.confidence:g} % confidence"


def _ratings_hash(views: Sequence[RatingView]) -> str:
    return json_hash(sorted((content_of(view) for view in views), key=repr))


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
