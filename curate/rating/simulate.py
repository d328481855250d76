"""Simulated raters are asked, and answer at once. What is simulated says so."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from annotation.base import RaterProfile
from annotation.config import FIRST_EYES, default_raters
from annotation.simulated import SimulatedBackend, SimulatedRater
from curate.errors import CurateError
from curate.progress import progress
from curate.rating.answers import Taken
from curate.rating.ask import (
    ask,
    asked_before,
    candidates,
    check_asks_the_same,
    items_of,
    practice_named,
    unpractised,
)
from curate.rating.campaigns import CampaignPlan
from curate.rating.config import SIMULATED, SimulateOptions
from curate.rating.draws import draw_at_random
from curate.rating.eyes import (
    RaterEyes,
    criteria_of,
    eyes_for,
    grade_ends,
    looking,
    rubric_of,
)
from curate.rating.practise_simulated import practise
from curate.rating.pull import pull_campaign
from curate.rating.report import Agreement, agreement
from curate.rating.send import push_campaign
from curate.samples.spoiling import spoiled_file
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image, Rater
from db.queries.ratings import goodness
from rewards.frozen import TruthNetwork


@dataclass(frozen=True)
class SimulatedRatings:
    """What a simulation did in one campaign, and how its raters agree."""

    campaign: str
    taken: Taken
    num_answered: int
    num_assigned: int
    shares: dict[str, float]  # of every value, over all current ratings of the campaign
    agreement: Agreement | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "simulated": True}

    def lines(self) -> list[str]:
        """Return them for a person to read."""
        shares = ", ".join(f"{value}: {100 * share:.0f} %" for value, share in self.shares.items())
        lines = [
            f"campaign {self.campaign} (simulated raters): {self.taken.new} new ratings, "
            f"{self.num_answered} of {self.num_assigned} assignments answered",
            f"  ratings (simulated)  {shares}",
        ]
        group = self.agreement
        if group is not None:
            kappa = "-" if group.mean_kappa is None else f"{group.mean_kappa:.2f}"
            exact = "-" if group.exact is None else f"{100 * group.exact:.0f} %"
            lines.append(
                f"  {group.num_ratings} ratings by {'simulated' if group.simulated else 'people'}, "
                f"mean weighted kappa {kappa}, equal {exact}"
            )
        return lines


def simulated_raters(count: int, eyes: str = FIRST_EYES) -> list[RaterProfile]:
    """Return that many simulated raters with these eyes, each with habits of its own."""
    return [SimulatedRater(config).profile() for config in default_raters(count, eyes=eyes)]


def check_same_eyes(what: str, raters: Iterable[Rater], eyes: RaterEyes) -> None:
    """Raise CurateError when one of the simulated raters whom `what` asked has other eyes."""
    known = {rater.config.get("eyes", FIRST_EYES) for rater in raters if rater.simulated}
    others = sorted(known - {eyes.identity})
    if others:
        raise CurateError(
            f"{what} was begun with simulated raters whose eyes are {others[0][:12]}; these are "
            f"{eyes.identity[:12]}, which grade otherwise. Go on with a version of curate that has "
            "those eyes, or begin anew under another --name."
        )


def simulated_backend(ws: Workspace, campaign: Campaign, eyes: RaterEyes) -> SimulatedBackend:
    """Return the campaign's simulated raters, who look through `eyes`, with what is still open.

    Raises CurateError when the raters are people, or look through other eyes.
    """
    if not campaign.simulated:
        raise CurateError(
            f"Campaign {campaign.name!r} asks people; simulated answers do not belong in it. "
            "Make one with `curate rate simulate`."
        )
    asked = queries.campaigns.raters_of(ws.session, campaign.id)
    check_same_eyes(f"Campaign {campaign.name!r}", asked, eyes)
    criteria = queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    by_criterion = {row.name for row in criteria} <= set(criteria_of(eyes))
    views = queries.campaigns.assignments(ws.session, campaign.id)
    asked_of = {str(view.id): (view.prompt_id, view.label) for view in views}

    look = looking(ws, eyes, asked_of, by_criterion=by_criterion)
    backend = SimulatedBackend(grade_ends(eyes, by_criterion=by_criterion), look)
    pictures = queries.campaigns.shown_images(ws.session, campaign.id)
    addresses = {
        (picture.assignment_id, picture.name): picture.file_sha256
        if picture.spoiled is None
        else spoiled_file(ws, picture.file_sha256, picture.spoiled)
        for picture in pictures
    }
    said = queries.ratings.latest_verdicts(ws.session, campaign, [view.id for view in views])
    still = {view.id for view in views if any((view.id, row.id) not in said for row in criteria)}
    push_campaign(ws, campaign, backend, addresses, among=still)
    return backend


def simulate_campaign(
    ws: Workspace, campaign: Campaign, *, eyes: RaterEyes, advance: Callable[[int], None]
) -> Taken:
    """Let the campaign's simulated raters answer what they have not answered yet.

    Each looks through `eyes` with the habits in its row. Answers are kept in batches, so that a
    stopped simulation goes on where it stood and ends with the same ratings. `advance(n)` is told
    of every n assignments answered. Raises CurateError when the raters are people, or look through
    other eyes.
    """
    practise(ws, campaign, eyes)
    backend = simulated_backend(ws, campaign, eyes)
    return pull_campaign(ws, campaign, backend, advance=advance).taken


def simulate(ws: Workspace, options: SimulateOptions) -> list[SimulatedRatings]:
    """Finish the simulated campaigns that were begun, or make and rate a new one.

    Where no image is left for a new one, as when a command is repeated that was killed at its very
    end, the newest is told of once more.
    """
    simulated = [
        row
        for row in queries.campaigns.progress_of_campaigns(ws.session)
        if row.campaign.backend == SIMULATED
    ]
    if options.name is None:
        begun = [row.campaign for row in simulated if row.num_answered < row.num_assignments]
    else:
        begun = [row.campaign for row in simulated if row.campaign.name == options.name]
    images = [] if begun else candidates(ws, options)
    if not begun and not images:
        begun = [row.campaign for row in simulated if options.name is None][-1:]
    if begun:
        return [_rate(ws, row, _eyes_of(ws, _images_of(ws, row))) for row in begun]
    eyes = _eyes_of(ws, images)
    return [_rate(ws, _new_campaign(ws, options, eyes), eyes)]


def _images_of(ws: Workspace, campaign: Campaign) -> list[Image]:
    ids = {view.image_id for view in queries.campaigns.assignments(ws.session, campaign.id)}
    return [image for image, _ in queries.images.images_by_id(ws.session, sorted(ids)).values()]


def _eyes_of(ws: Workspace, images: Iterable[Image]) -> RaterEyes:
    """Return the eyes of the family that made the images; of real ones alone those that ship."""
    ids = sorted({image.version_id for image in images if image.version_id is not None})
    versions = [queries.versions.find_version(ws.session, one) for one in ids]
    found = {eyes.identity: eyes for eyes in (eyes_for(ws, version) for version in versions)}
    if len(found) > 1:
        raise CurateError(
            "These images come from families with simulated raters of their own, who grade by "
            "measures of their own. Ask about one at a time: --version."
        )
    return next(iter(found.values()), None) or eyes_for(ws, None)


def _new_campaign(ws: Workspace, options: SimulateOptions, eyes: RaterEyes) -> Campaign:
    modalities = eyes.modalities if isinstance(eyes, TruthNetwork) else None
    practice, raters = (
        practice_named(ws, options),
        simulated_raters(options.num_raters, eyes.identity),
    )
    practice_id = None if practice is None else practice.id
    images = unpractised(
        ws,
        candidates(ws, options, modalities=modalities),
        practice_id,
        [rater.name for rater in raters],
    )
    count = len(images) if options.max_images is None else options.max_images
    chosen = draw_at_random(images, count, options.seed)
    method = "random" if count < len(images) else "all"
    plan = CampaignPlan(
        name=options.name or f"simulated-{len(queries.campaigns.campaigns(ws.session)) + 1}",
        items=items_of(chosen, purpose=options.purpose, selection_method=method),
        raters=tuple(raters),
        overlap=options.overlap,
        seed=options.seed,
        repeat_fraction=options.repeat_fraction,
        backend=SIMULATED,
        practice_id=practice_id,
    )
    rubric = asked_before(ws, options) or rubric_of(ws, eyes)
    check_asks_the_same(ws, practice, rubric)
    return ask(
        ws,
        plan,
        rubric,
        shown=chosen.images,
        control_fraction=options.control_fraction,
        modalities=modalities,
    )


def _rate(ws: Workspace, campaign: Campaign, eyes: RaterEyes) -> SimulatedRatings:
    def so_far() -> queries.campaigns.CampaignProgress:
        rows = queries.campaigns.progress_of_campaigns(ws.session)
        return next(row for row in rows if row.campaign.id == campaign.id)

    before = so_far()
    # before the answers, so that a campaign that has them all has its line too
    about, asked = {"campaign": campaign.name}, {"assignments": before.num_assignments}
    queries.audit.record_result(ws.session, "rate simulate", about, asked)
    missing = before.num_assignments - before.num_answered
    with progress(missing, "simulated ratings") as advance:
        taken = simulate_campaign(ws, campaign, eyes=eyes, advance=advance)
    after = so_far()
    views = queries.ratings.current_ratings(ws.session, campaign_id=campaign.id)
    counts = Counter(goodness(view) for view in views)
    return SimulatedRatings(
        campaign=campaign.name,
        taken=taken,
        num_answered=after.num_answered,
        num_assigned=after.num_assignments,
        shares={str(value): counts[value] / len(views) for value in sorted(counts)},
        agreement=next(iter(agreement(ws, campaign.name)), None),
    )
