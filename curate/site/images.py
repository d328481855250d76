"""Images: the gallery, one image with all that is known of it, and its pixels."""

import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image as PillowImage
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from curate.samples.formats import decode
from curate.samples.rendered import (
    SLICES,
    USUAL_WINDOW,
    WINDOWS,
    levels_of,
    montage_of,
    slices_of,
)
from curate.web.pages import FOREVER, Asked, Page
from curate.workspace import Workspace
from db import queries
from db.folders import replace_file
from db.models import Image, Prompt, RewardModel, Standing
from db.queries.gallery import ORDERS, Card, Filter
from generators.families.elsewhere import is_from_elsewhere
from generators.sample import Sample

CARDS = 60  # a page
THUMBNAIL = 160  # pixels along the longer side
LEAST_PIXELS = 320  # smaller pictures are shown larger, each pixel a square
# what the address may ask for, as `Filter` has it
WORDS = (
    *("modality", "label", "words", "origin", "version_id", "run_id"),
    *("release_id", "decision", "reason"),
)
NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "seed": int,
    "least_score": float,
    "most_score": float,
}
BY_SCORE = ("best", "worst", "least-sure")
OF_STANDING = {"most-disagreement": "disagreement", "nearest-training": "train_distance"}
_making = threading.Semaphore(4)  # thumbnails at once: a page asks for sixty


def gallery(ws: Workspace, asked: Asked) -> Page:
    """Show images by the filters and the order in the address, a page at a time."""
    model = _latest_reward_model(ws)
    wanted, order, problem = _wanted(asked.query, model)
    after = _uuid(asked.query.get("after"))
    found = queries.gallery.cards(
        ws.session,
        wanted,
        order=order,
        reward_model_id=model.id if model else None,
        after=after,
        limit=CARDS + 1,
    )
    shown, more = found[:CARDS], len(found) > CARDS
    chosen = {key: value for key, value in asked.query.items() if key not in ("after", "part")}
    values: dict[str, Any] = {
        "cards": shown,
        "chosen": dict.fromkeys((*WORDS, *NUMBERS, "rated")) | chosen,
        "next": {**chosen, "after": str(shown[-1].image_id), "part": "1"} if more else None,
        "order": order,
        "orders": _orders(ws, model),
        "model": model,
        "problem": problem,
    }
    plain = {"images": [_plain(card) for card in shown], "next": values["next"]}
    if "part" in asked.query:
        return Page("cards.html", values, plain)
    named = queries.gallery.named_prompts(ws.session)
    values |= {
        "modalities": sorted({modality for modality, _ in named}),
        "labels": sorted({label for _, label in named if label}),
        "versions": queries.versions.versions(ws.session),
        "releases": queries.releases.releases(ws.session),
        "total": queries.gallery.num_images(ws.session),
    }
    return Page("images.html", values, plain)


def _wanted(query: Mapping[str, str], model: RewardModel | None) -> tuple[Filter, str, str | None]:
    """Read the address; what cannot be read is left out and said."""
    fields: dict[str, Any] = {name: query.get(name) for name in WORDS}
    problems = []
    for name, read in NUMBERS.items():
        try:
            fields[name] = read(query[name]) if name in query else None
        except ValueError:
            problems.append(f"{name.replace('_', ' ')} is not a number: {query[name]!r}")
    if "rated" in query:
        fields["is_rated"] = query["rated"] == "yes"
    if fields.get("seed") is not None and abs(fields["seed"]) >= 2**63:
        fields["seed"] = None
        problems.append("no seed is so large")
    order = query.get("order", "newest")
    if order not in ORDERS or (order in BY_SCORE and model is None):
        problems.append(f"no order {order!r}" if order not in ORDERS else "nothing has a score yet")
        order = "newest"
    return Filter(**fields), order, "; ".join(problems) or None


def _orders(ws: Workspace, model: RewardModel | None) -> list[str]:
    """Return the orders of which some image has a value."""
    without = set() if model else {*BY_SCORE}
    for order, column in OF_STANDING.items():
        if not queries.standings.has_standings(ws.session, column):
            without.add(order)
    return [order for order in ORDERS if order not in without]


def image_page(ws: Workspace, asked: Asked) -> Page:
    """Show one image: what it is, why it was kept or not, who rated it, where it comes from."""
    image, prompt = _image(ws, asked)
    session = ws.session
    # what others said would sway those who are still to answer
    hidden = sorted(
        row.name
        for row in queries.gallery.campaigns_with(session, image.id)
        if queries.ratings.is_open(session, row.id)
    )
    ratings = [
        rating
        for rating in queries.gallery.ratings_of(session, image.id)
        if rating.campaign not in hidden
    ]
    releases = {row.id: row for row in queries.releases.releases(session)}
    decisions = [
        {"release": releases[row.release_id].name, **row.model_dump(exclude={"image_id"})}
        for row in queries.gallery.decisions_about(session, image.id)
    ]
    values: dict[str, Any] = {
        "image": image,
        "prompt": prompt,
        "conditions": queries.prompts.conditions_of(session, [prompt.id]).get(prompt.id, {}),
        "scores": queries.gallery.scores_of(session, image.id),
        "standing": session.get(Standing, image.id),
        "decisions": decisions,
        "ratings": ratings,
        "hidden": hidden,
        "lineage": queries.versions.ancestry(session, image.version_id) if image.version_id else [],
        "twins": queries.gallery.twins(session, image),
        "command_line": _again(image, prompt),
        "slices": min(SLICES, image.shape[1]) if len(image.shape) == 4 else 0,
    }
    plain = {
        **image.model_dump(mode="json"),
        "prompt": prompt.model_dump(mode="json"),
        "scores": [row.model_dump(mode="json") for row in values["scores"]],
        "standing": values["standing"] and values["standing"].model_dump(mode="json"),
        "decisions": decisions,
        "ratings": [asdict(rating) for rating in ratings],
        "hidden_campaigns": hidden,
        "lineage": [row.id for row in values["lineage"]],
        "twins": [_plain(card) for card in values["twins"]],
    }
    return Page("image.html", values, plain)


def _again(image: Image, prompt: Prompt) -> str | None:
    """Return the command that makes the image again; None where nothing here can."""
    if image.origin != "synthetic" or image.settings is None or is_from_elsewhere(image.settings):
        return None
    text = f"{prompt.modality}: {prompt.text}".replace('"', '\\"')
    said = [f'curate generate --version {str(image.version_id)[:12]} --prompt "{text}"']
    said += [f"--count 1 --seed {image.seed} --steps {image.settings.get('num_steps')}"]
    said += [f"--guidance {image.settings.get('guidance')}"]
    return " ".join(said)


def thumbnail(ws: Workspace, asked: Asked) -> Response:
    """Give a small WebP of a file, made once and kept in the cache."""
    sha256 = _known_file(ws, asked)
    path = ws.cache / "thumbnails" / sha256[:2] / f"{sha256}.webp"
    if not path.is_file():
        with _making:
            _make_thumbnail(ws, sha256, path)
    return Response(path.read_bytes(), mimetype="image/webp", headers={"Cache-Control": FOREVER})


def _make_thumbnail(ws: Workspace, sha256: str, path: Path) -> None:
    picture = PillowImage.fromarray(levels_of(montage_of(decode(ws.store.get(sha256)))))
    picture.thumbnail((THUMBNAIL, THUMBNAIL), PillowImage.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.save(written, "WEBP", quality=80, method=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, written.getvalue())


def picture(ws: Workspace, asked: Asked) -> Response:
    """Give a file as an 8-bit PNG: a picture, or one slice of a volume."""
    sample = decode(ws.store.get(_known_file(ws, asked)))
    shown = slices_of(sample)
    at = asked.request.args.get("slice", type=int, default=0)
    if not 0 <= at < len(shown):
        raise NotFound(f"There are {len(shown)} slices, from 0.")
    written = io.BytesIO()
    PillowImage.fromarray(levels_of(shown[at])).save(written, "PNG", compress_level=1)
    return Response(written.getvalue(), mimetype="image/png", headers={"Cache-Control": FOREVER})


def pixels(ws: Workspace, asked: Asked) -> Response:
    """Give a file's own numbers, for a viewer with window and level: little-endian float32.

    The header X-Sample says shape [C, H, W], kind, depth, and the numbers shown black and white.
    """
    sample = decode(ws.store.get(_known_file(ws, asked)))
    array = sample.array
    if sample.is_volume:
        at = asked.request.args.get("slice", type=int, default=array.shape[1] // 2)
        if not 0 <= at < array.shape[1]:
            raise NotFound(f"The volume has {array.shape[1]} slices, from 0.")
        array = array[:, at]
    says = {
        "shape": array.shape,
        "kind": sample.kind,
        "window": _window(sample),
        "depth": sample.array.shape[1] if sample.is_volume else 1,
    }
    headers = {"Cache-Control": FOREVER, "X-Sample": json.dumps(says)}
    content = np.ascontiguousarray(array, "<f4").tobytes()
    return Response(content, mimetype="application/octet-stream", headers=headers)


def _window(sample: Sample) -> tuple[float, float]:
    if sample.kind == "HU":
        centre, width = WINDOWS[USUAL_WINDOW]
        return centre - width / 2, centre + width / 2
    if sample.kind == "labels" or sample.array.dtype == np.float32:
        return 0.0, max(float(sample.array.max()), 1.0)
    return 0.0, float(np.iinfo(sample.array.dtype).max)


def _image(ws: Workspace, asked: Asked) -> tuple[Image, Prompt]:
    image_id = asked.place["image_id"]
    found = queries.images.images_by_id(ws.session, [image_id]).get(image_id)
    if found is None:
        raise NotFound("There is no such image here.")
    return found


def _known_file(ws: Workspace, asked: Asked) -> str:
    """Return the hash in the address, where it is an image's or a condition image's."""
    sha256: str = asked.place["sha256"]
    if not queries.gallery.is_picture(ws.session, sha256):
        raise NotFound("There is no such picture here.")
    return sha256


def _latest_reward_model(ws: Workspace) -> RewardModel | None:
    models = queries.reward_models.reward_models(ws.session, "reward")
    return models[-1] if models else None


def _plain(card: Card) -> dict[str, Any]:
    made_at = card.created_at.isoformat()
    return {**asdict(card), "image_id": str(card.image_id), "created_at": made_at}


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
