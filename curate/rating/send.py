"""A campaign that exists -> Label Studio: its tasks, and where its pictures are to be had."""

from dataclasses import dataclass
from typing import Any

from annotation.label_studio.backend import LabelStudioBackend
from curate.errors import CurateError
from curate.image_service.addresses import Addresses, local_files, presigned_urls, signed_urls
from curate.rating.config import LOCAL, PushOptions
from curate.rating.label_studio import label_studio_backend, server_folder
from curate.rating.plan import plan_campaign
from curate.rating.push import push_campaign, study_of
from curate.workspace import Workspace
from db import queries
from db.models import Campaign


@dataclass(frozen=True)
class Pushed:
    """What a push did, and where each rater goes."""

    campaign: str
    num_new: int
    pages: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self)

    def lines(self) -> list[str]:
        """Return them for a person to read."""
        return [
            f"campaign {self.campaign}: {self.num_new} new tasks",
            *(f"  {rater} rates at {page}" for rater, page in self.pages.items()),
        ]


def backend_that_is_up(ws: Workspace) -> LabelStudioBackend:
    """Return the workspace's Label Studio; CurateError when there is none or it does not answer."""
    backend = label_studio_backend(ws)
    health = backend.health()
    if not health.is_up:
        raise CurateError(f"{health.message}. Start it with `curate rate serve`.")
    return backend


def push(ws: Workspace, options: PushOptions, *, images_from: str = LOCAL) -> Pushed:
    """Make the campaign when it is new, and send what is missing of it."""
    backend = backend_that_is_up(ws)
    campaign = plan_campaign(ws, options)
    return send_campaign(ws, campaign, backend, images_from=images_from)


def send_campaign(
    ws: Workspace, campaign: Campaign, backend: LabelStudioBackend, *, images_from: str
) -> Pushed:
    """Send what is missing of a campaign; `images_from` is LOCAL, a service or a store address."""
    addresses, folder = _addresses(ws, campaign, backend, images_from)
    num_new = push_campaign(ws, campaign, backend, addresses, images_folder=folder)
    if backend.access.webhook_url:
        backend.send_hints(study_of(ws, campaign), backend.access.webhook_url)
    queries.audit.record_event(ws.session, "rate push", {"campaign": campaign.name, "new": num_new})
    return Pushed(campaign.name, num_new, backend.rating_pages(study_of(ws, campaign)))


def _addresses(
    ws: Workspace, campaign: Campaign, backend: LabelStudioBackend, images_from: str
) -> tuple[Addresses, str]:
    """Return the pictures' addresses, and the folder that Label Studio reads itself, if any."""
    if images_from.startswith(("http://", "https://")):
        return signed_urls(ws, campaign, base_url=images_from), ""
    if images_from != LOCAL:
        return presigned_urls(ws, campaign, place=images_from), ""
    if not backend.access.managed:
        raise CurateError(
            f"Label Studio at {backend.access.url} cannot read this machine's files. Name the "
            "address of the image service, or of a store, with --images-from."
        )
    root = server_folder(ws) / "images"
    addresses = local_files(ws, campaign, document_root=root)
    return addresses, str(root / "images" / str(campaign.id))
