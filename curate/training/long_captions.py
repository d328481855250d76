"""Captions longer than a generator reads: refused by name, cut, or their images left out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from curate.errors import CurateError
from curate.training.selection import Selection
from curate.workspace import Workspace
from db import queries
from db.queries.images import ImageToLearn
from generators.base import Conditioner, ReadsSoMuch


def with_readable_captions(
    ws: Workspace,
    chosen: Selection,
    conditioner: Conditioner,
    policy: str,
    say: Callable[[str], None],
) -> Selection:
    """Return the images with captions that the generator reads whole.

    Only what is learned or replayed is refused, all of it at once; a held-out image with a long
    caption is not validated on.
    """
    if not isinstance(conditioner, ReadsSoMuch):
        return chosen
    everything = (*chosen.learned, *chosen.replayed, *chosen.validated)
    read = {text: conditioner.read_of(text) for text in {image.text for image in everything}}
    taught = [i for i in (*chosen.learned, *chosen.replayed) if read[i.text] != i.text]
    long = [i for i in everything if read[i.text] != i.text]
    if not long:
        return chosen
    if taught and policy == "refuse":
        raise CurateError(
            f"{len({i.image_id for i in taught})} images have captions longer than this generator "
            f"reads: {_named(ws, taught)}. Shorten them, or give --long-captions truncate or skip."
        )

    def readable(images: Sequence[ImageToLearn]) -> list[ImageToLearn]:
        if policy == "truncate":
            return [replace(image, text=read[image.text]) for image in images]
        return [image for image in images if read[image.text] == image.text]

    done = "read as far as they fit" if policy == "truncate" else "left out"
    say(f"Note: {len({i.image_id for i in long})} images with captions too long are {done}")
    found = replace(
        chosen,
        learned=readable(chosen.learned),
        replayed=readable(chosen.replayed),
        validated=readable(chosen.validated),
    )
    if not found.learned:
        raise CurateError("No image is left to learn: all captions are too long. Shorten them.")
    return found


def _named(ws: Workspace, images: Sequence[ImageToLearn]) -> str:
    """Return every image by its path, or its hash, with the beginning of its caption."""
    texts = {image.image_id: image.text for image in images}
    rows = queries.images.images_by_id(ws.session, list(texts))
    return "; ".join(
        f"{rows[image_id][0].source_path or rows[image_id][0].file_sha256[:12]} ({text[:40]!r} ...)"
        for image_id, text in texts.items()
    )
