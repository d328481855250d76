"""Generator versions on a page: their names, images before and after, shares of top ratings."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from curate.evaluation.intervals import Estimate, wilson_interval
from curate.evaluation.judge import Judge, JudgedDifference, ToJudge, judged_difference
from curate.report.config import ReportConfig
from curate.report.pictures import Picture, picture_of
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Round
from db.queries.images import ScoredImage
from db.queries.ratings import RatingView, looks_good

Pair = tuple[ScoredImage, ScoredImage]


@dataclass(frozen=True)
class BeforeAfter:
    """Two versions at the same prompts, seeds and settings."""

    before: str  # the versions' names
    after: str
    pairs: tuple[tuple[Picture, Picture], ...]
    in_use: bool  # the after version; else a gate rejected it, or none has judged it yet
    num_pairs: int  # that the judge saw
    judged: JudgedDifference | None


def version_names(versions: Sequence[GeneratorVersion], rounds: Sequence[Round]) -> dict[str, str]:
    """Return a short name for each version, in their order: by the round that made it, else how."""
    several_loops = len({row.loop_name for row in rounds}) > 1
    by_round = {}
    for row in reversed(rounds):  # equal weights made twice go by the first round
        loop = f"{row.loop_name}, " if several_loops else ""
        state = "" if row.state == "promoted" else f" ({row.state})"
        by_round[row.new_version_id] = f"{loop}round {row.number}{state}"
    bases = {row.base_version_id for row in rounds}
    names = {
        version.id: by_round.get(version.id)
        or ("base" if version.id in bases else version.how_made)
        for version in versions
    }
    taken = list(names.values())
    return {
        id_: name if taken.count(name) == 1 else f"{name} {id_[:6]}" for id_, name in names.items()
    }


def compared_versions(ws: Workspace) -> tuple[GeneratorVersion, GeneratorVersion] | None:
    """Return a root version and the newest one that descends from it.

    Newest is the one in use; while that is a root, the last one made, although no gate let it pass.
    Weights that nothing has trained yet are no root: they have made no image.
    """
    in_use = queries.versions.latest_version(ws.session)
    for newest in [in_use, *reversed(queries.versions.versions(ws.session))]:
        if newest is not None:
            before = queries.versions.ancestry(ws.session, newest.id)[1:]
            if roots := [version for version in before if version.how_made != "begun"]:
                return roots[-1], newest
    return None


def before_and_after(
    ws: Workspace,
    judge: Judge,
    names: Mapping[str, str],
    config: ReportConfig,
    reward_model_id: str | None,
) -> BeforeAfter | None:
    """Compare the first and the newest version where both made the same items.

    Images that no rater has seen are preferred: the gate's have decided who is the newest.
    """
    compared = compared_versions(ws)
    if compared is None:
        return None
    before, after = compared
    pairs = queries.images.same_noise_pairs(
        ws.session, before_id=before.id, after_id=after.id, reward_model_id=reward_model_id
    )
    if not pairs:
        return None
    seen = queries.campaigns.rated_among(ws.session, [i.image_id for pair in pairs for i in pair])
    unseen = [pair for pair in pairs if not seen & {image.image_id for image in pair}]
    chosen = unseen or pairs
    judged = sorted(chosen, key=lambda pair: pair[0].item_key)[: config.images_per_version]
    in_use = queries.versions.latest_version(ws.session)
    return BeforeAfter(
        before=names[before.id],
        after=names[after.id],
        pairs=tuple(
            (picture_of(ws, one), picture_of(ws, other))
            for one, other in one_a_prompt(chosen, config.num_pairs)
        ),
        in_use=in_use is not None and in_use.id == after.id,
        num_pairs=len(judged),
        judged=judged_difference(ws, judge, [(_asked(a), _asked(b)) for a, b in judged]),
    )


def one_a_prompt(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """Return the pair of the lowest seed of each prompt, modalities in turn: no pick by quality."""
    first: dict[str, Pair] = {}
    for pair in sorted(pairs, key=lambda p: (p[0].seed, p[0].text)):
        first.setdefault(pair[0].prompt_id, pair)
    by_modality: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(first.values(), key=lambda p: (p[0].modality, p[0].text)):
        by_modality[pair[0].modality].append(pair)
    taken: list[Pair] = []
    place = 0
    while len(taken) < min(limit, len(first)):
        taken += [own[place] for own in by_modality.values() if place < len(own)]
        place += 1
    return sorted(taken[:limit], key=lambda p: (p[0].modality, p[0].text))


def rated_shares(
    ratings: Iterable[RatingView], names: Mapping[str, str]
) -> dict[str, dict[str, Estimate]]:
    """Return the raters' share of top ratings by kind of rater and version name.

    The interval counts each image once: ratings of one image are no independent evidence.
    """
    tops: dict[tuple[str, str], list[bool]] = defaultdict(list)
    images: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    for rating, is_good in looks_good(ratings):
        if rating.version_id is not None:  # a real image has none
            who = "simulated raters" if rating.simulated else "radiologists"
            key = (who, names[rating.version_id])
            tops[key].append(is_good)
            images[key].add(rating.image_id)
    shares: dict[str, dict[str, Estimate]] = {}
    for (who, name), values in tops.items():
        num = len(images[who, name])
        share = sum(values) / len(values)
        interval = wilson_interval(round(share * num), num)
        shares.setdefault(who, {})[name] = Estimate(
            share, min(share, interval.low), max(share, interval.high), num
        )
    order = list(names.values())
    return {
        who: dict(sorted(points.items(), key=lambda item: order.index(item[0])))
        for who, points in sorted(shares.items())
    }


def _asked(image: ScoredImage) -> ToJudge:
    return ToJudge(image.file_sha256, image.prompt_id, image.modality, image.text, image.label)
