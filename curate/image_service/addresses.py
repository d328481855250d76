"""A campaign's pictures as addresses for its rating page, in one of three ways.

From curate's own service (teams), from files that Label Studio serves (one machine), or from an
object store (clouds). The keys of all three are (assignment id, picture's name).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from time import time
from uuid import UUID, uuid4

from curate.errors import CurateError
from curate.image_service.config import VALID_DAYS
from curate.image_service.picture import StudyPictures
from curate.image_service.signing import Shown, signed_path, workspace_key
from curate.workspace import Workspace
from db import queries
from db.models import Campaign
from db.queries.campaigns import ShownImage
from db.shown_files import open_shown_files

Addresses = dict[tuple[UUID, str], str]
DAY_S = 86_400
SAME_MOMENT = 946_684_800  # 2000-01-01: a file's time must not tell when its image was made


def signed_urls(
    ws: Workspace, campaign: Campaign, *, base_url: str, valid_days: float = VALID_DAYS
) -> Addresses:
    """Return addresses at the image service, which raters reach under `base_url`."""
    key, until = workspace_key(ws.folder), int(time() + valid_days * DAY_S)
    return {
        (image.assignment_id, image.name): base_url.rstrip("/")
        + signed_path(key, Shown(image.assignment_id, image.name), until)
        for image in queries.campaigns.shown_images(ws.session, campaign.id)
    }


def local_files(ws: Workspace, campaign: Campaign, *, document_root: Path) -> Addresses:
    """Write the pictures below Label Studio's document root and return its addresses of them.

    Of the folder `images` there Label Studio needs a storage. What is written already stays.
    """
    folder = document_root / "images" / str(campaign.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    addresses = {}
    for image, name, picture in _pictures(ws, campaign, already={p.name for p in folder.iterdir()}):
        if picture is not None:
            unfinished = folder / f".{uuid4().hex}"
            unfinished.write_bytes(picture)
            os.utime(unfinished, (SAME_MOMENT, SAME_MOMENT))
            unfinished.rename(folder / name)
        place = f"images/{campaign.id}/{name}"
        addresses[image.assignment_id, image.name] = f"/data/local-files/?d={place}"
    return addresses


def presigned_urls(
    ws: Workspace, campaign: Campaign, *, place: str, valid_days: float = 7.0
) -> Addresses:
    """Put the pictures at an fsspec URL such as `s3://bucket/folder` and return signed addresses.

    The store signs them, with this machine's credentials; its bucket must allow the rating page's
    origin. Raises CurateError when a store cannot sign, or not for so long.
    """
    files = open_shown_files(place)
    if valid_days * DAY_S > files.longest_s:
        raise CurateError(
            f"Addresses for {valid_days:g} days, but {place} signs for at most "
            f"{files.longest_s / DAY_S:g}. Ask for fewer days, and push again before the "
            f"addresses expire."
        )
    addresses = {}
    for image, name, picture in _pictures(ws, campaign, already=files.names(str(campaign.id))):
        if picture is not None:
            files.put(f"{campaign.id}/{name}", picture)
        address = files.signed_url(f"{campaign.id}/{name}", round(valid_days * DAY_S))
        addresses[image.assignment_id, image.name] = address
    return addresses


def _pictures(
    ws: Workspace, campaign: Campaign, *, already: set[str]
) -> Iterator[tuple[ShownImage, str, bytes | None]]:
    """Yield what is shown, its file's opaque name, and the PNG unless it is there already.

    In each rater's order, which is drawn by lot: the moments of writing tell nothing.
    """
    shown = queries.campaigns.shown_images(ws.session, campaign.id)
    pictures = StudyPictures(shown)
    for image in shown:
        name = f"{image.assignment_id}-{image.name}.png"
        if name in already:
            yield image, name, None
        else:
            yield image, name, pictures.png(ws.store.get(image.file_sha256), image)
