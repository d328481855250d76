"""Which images people are asked about: by lot, or those from which most is to be learned."""

from collections.abc import Sequence

from curate.errors import CurateError
from curate.rating.active import select_active
from curate.rating.draws import Selected, draw_at_random
from curate.workspace import Workspace
from db.models import Image

STRATEGIES = ("active", "all", "version")


def select(
    ws: Workspace, images: Sequence[Image], *, strategy: str, count: int | None, seed: int
) -> Selected:
    """Choose `count` of the images (all, without a count) by the named strategy.

    Raises CurateError for an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise CurateError(f"--select {strategy}; known: {', '.join(STRATEGIES)}.")
    wanted = len(images) if count is None else count
    if strategy == "active":
        return select_active(ws, images, count=wanted, seed=seed)
    return draw_at_random(images, wanted, seed)
