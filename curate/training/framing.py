"""What a mirrored image may not show."""

import re
from collections.abc import Iterable

from curate.errors import CurateError

# Words that say on which side something is; a mirrored image would contradict them.
SIDES = re.compile(
    r"\b(left|right|lt|rt|l|r|ltr?|od|os|o\.d\.|o\.s\.|dext(er|ra|ro\w*)|sinist(er|ra|ro\w*)"
    r"|lateral\w*|nasal|temporal|situs|ipsilateral|contralateral|clockwise|\w+-sided)\b",
    re.IGNORECASE,
)
NUM_SHOWN = 3


def refuse_sided_texts(texts: Iterable[str]) -> None:
    """Raise CurateError when a text names a side: a mirrored image would not show it."""
    sided = [text for text in dict.fromkeys(texts) if SIDES.search(text)]
    if sided:
        shown = ", ".join(repr(text) for text in sided[:NUM_SHOWN])
        raise CurateError(
            f"{len(sided)} texts name a side ({shown}), and a mirrored image would show the other "
            "one. Train without --mirror."
        )
