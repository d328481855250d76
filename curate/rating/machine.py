"""A campaign's images before a vision-language model, which answers the campaign's rubric.

A machine has a campaign of its own beside the one that it follows: the same images, controls too,
in an order of its own. So it is in no gate and no certificate, and nobody waits for it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from annotation.base import RaterProfile
from annotation.endpoint import Endpoint
from annotation.machine import MachineBackend, Prices, prompt_of, uid_of
from curate.errors import CurateError
from curate.image_service.picture import StudyPictures
from curate.progress import progress
from curate.rating.answers import Taken, find_campaign
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.config import MachineOptions
from curate.rating.pull import pull_campaign
from curate.rating.send import push_campaign, study_of
from curate.workspace import Workspace
from db import queries
from db.models import BY_MACHINE, MACHINE, Campaign, Rubric


@dataclass(frozen=True)
class MachineRated:
    """What a machine answered, and what it took."""

    campaign: str
    of: str  # the campaign whose images it rates
    rater: str
    taken: Taken
    num_kept_back: int  # tasks that may not leave this machine
    tokens: int
    cost: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return them for a person to read."""
        kept_back = (
            f"  {self.num_kept_back} tasks show real images, or what was given for an image, and "
            "were not sent: --real-images-may-leave"
        )
        return [
            f"campaign {self.campaign}: {self.taken.new} new ratings by {self.rater} (a machine), "
            f"{self.taken.quarantined} replies into quarantine",
            *([kept_back] if self.num_kept_back else []),
            f"  in all {self.tokens:,} tokens, cost {self.cost:.4f}",
            f"  beside people's: `curate rate agreement --campaign {self.of}`",
        ]


def rate_by_machine(ws: Workspace, name: str, options: MachineOptions) -> MachineRated:
    """Have the model rate what the campaign showed; again: only what it was not asked.

    Raises CurateError before anything is sent that may not be, AnnotationError when the model
    cannot be asked.
    """
    endpoint = endpoint_of(options)
    of = find_campaign(ws, name)
    campaign = _own_campaign(ws, of, options)
    shown = queries.campaigns.shown_images(ws.session, campaign.id)
    pictures = {f"{image.assignment_id}/{image.name}": image for image in shown}
    study_pictures = StudyPictures(shown)

    def picture(address: str) -> bytes:
        image = pictures[address]
        return study_pictures.png(ws.store.get(image.file_sha256), image)

    prices = Prices(prompt=options.prompt_price, reply=options.reply_price)
    backend = MachineBackend(endpoint, picture, prices)
    still = _unasked(ws, campaign, again=options.again)
    may_go = (
        still if endpoint.is_local or options.real_images_may_leave else still - _private(ws, shown)
    )
    addresses = {(image.assignment_id, image.name): at for at, image in pictures.items()}
    push_campaign(ws, campaign, backend, addresses, among=may_go)
    with progress(len(may_go), f"replies of {options.model}") as advance:
        taken = pull_campaign(ws, campaign, backend, advance=advance).taken
    spent = _spent(ws, campaign)
    return MachineRated(
        campaign.name,
        of.name,
        f"{MACHINE}{options.model}",
        taken,
        len(still - may_go),
        round(spent["prompt_tokens"] + spent["reply_tokens"]),
        spent["cost"],
    )


def endpoint_of(options: MachineOptions) -> Endpoint:
    """Return where the model is; CurateError when nothing may be sent there."""
    address = urlsplit(options.url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise CurateError(f"--url {options.url}: needed: an http or https address.")
    endpoint = Endpoint(
        url=options.url, model=options.model, key=options.key, timeout_s=options.timeout_s
    )
    if not endpoint.is_local and not options.images_may_leave:
        raise CurateError(
            f"{address.hostname} is not this machine, and images would be sent there. If they may "
            "leave, say so: --images-may-leave (synthetic ones only), and --real-images-may-leave."
        )
    return endpoint


def _own_campaign(ws: Workspace, of: Campaign, options: MachineOptions) -> Campaign:
    """Return the machine's campaign on the images of another, made first when it is new."""
    if of.backend == BY_MACHINE:
        raise CurateError(f"Campaign {of.name!r} is a machine's. Name the one that it follows.")
    items: dict[tuple[object, ...], Item] = {}
    for view in queries.campaigns.assignments(ws.session, of.id):
        first, *other = sorted(filter(None, (view.image_id, view.other_image_id)))
        items.setdefault(
            (first, *other, view.spoiled),
            Item(
                image_id=first,
                other_image_id=next(iter(other), None),
                purpose="control" if view.purpose == "control" else "train",
                selection_method="control" if view.purpose == "control" else "all",
                spoiled=view.spoiled,
            ),
        )
    plan = CampaignPlan(
        name=options.name or f"{of.name}-{MACHINE}{options.model}",
        items=tuple(item for item in items.values() if item.purpose != "control"),
        controls=tuple(item for item in items.values() if item.purpose == "control"),
        raters=(
            RaterProfile(
                name=f"{MACHINE}{options.model}", simulated=True, config={"model": options.model}
            ),
        ),
        overlap=1,
        seed=of.seed,
        repeat_fraction=options.repeat_fraction,
        backend=BY_MACHINE,
    )
    campaign = make_campaign(ws, plan, ws.session.get_one(Rubric, of.rubric_id))
    prompt = prompt_of(study_of(ws, campaign))
    if campaign.config.setdefault("prompt", prompt) != prompt:
        raise CurateError(
            f"Campaign {campaign.name!r} was begun with other words to the model than this version "
            "of curate would send. Begin anew under another --name."
        )
    campaign.config = {**campaign.config, "of": str(of.id), "prompt": prompt}
    ws.session.add(campaign)
    about = {"campaign": campaign.name, "host": urlsplit(options.url).hostname or ""}
    queries.audit.record_result(ws.session, "rate machine", about, {})
    return campaign


def _unasked(ws: Workspace, campaign: Campaign, *, again: bool) -> set[UUID]:
    """Return the assignments without a reply; with `again`, also those whose reply was none."""
    views = queries.campaigns.assignments(ws.session, campaign.id)
    said = queries.ratings.latest_verdicts(ws.session, campaign, [view.id for view in views])
    answered = {assignment_id for assignment_id, _ in said}
    refused = {row.source_uid for row in queries.ratings.quarantined(ws.session, campaign.id)}
    return {
        view.id
        for view in views
        if view.id not in answered and (again or uid_of(str(view.id)) not in refused)
    }


def _private(ws: Workspace, shown: "list[queries.campaigns.ShownImage]") -> set[UUID]:
    """Return the assignments that show a file which is not known to be synthetic.

    So a prior, a mask or a spoiled control counts as real, whatever is judged beside it.
    """
    images = queries.images.images_of_files(
        ws.session, sorted({image.file_sha256 for image in shown})
    )
    made = {
        sha256
        for sha256, own in images.items()
        if own and all(image.origin == "synthetic" for image, _ in own)
    }
    return {image.assignment_id for image in shown if image.file_sha256 not in made}


def _spent(ws: Workspace, campaign: Campaign) -> Mapping[str, float]:
    """Add up what the campaign's replies took, by the audit trail."""
    total: Counter[str] = Counter()
    for details in queries.audit.details_of(ws.session, f"rate {BY_MACHINE} reply"):
        if details["study"] == campaign.name:
            total.update({key: details[key] for key in ("prompt_tokens", "reply_tokens", "cost")})
    return {"prompt_tokens": 0, "reply_tokens": 0, "cost": 0.0, **total}
