"""A family's own simulated raters and judge, for trying the loop: never a claim about images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from generators.base import Prompt
from generators.sample import Sample


@dataclass(frozen=True)
class Simulated:
    """How simulated raters see a family's samples, and how its judge does: two functions.

    What they know beside the sample is its prompt: words, label, record, condition images. What is
    marked by one of them says that it is simulated, wherever it shows. The judge has no part in
    ratings, rewards, gradients or selection.
    """

    identity: str  # which raters' eyes these are, for ever: "clinical/1"; changed with `quality`
    thresholds: tuple[float, ...]  # of the quality, where one grade ends and the next begins
    quality: Callable[[Sample, Prompt], float]  # higher is better
    judge: str  # its name, as tables show it
    deserves_top: Callable[[Sample, Prompt], bool | None]  # what the judge says; None: nothing
    # the family's own criteria: their rubric, and each one's quality in grades, a 2 from 0 on and
    # a 3 from 1 on; without them there is one quality for all
    rubric: Path | None = None
    criteria: tuple[str, ...] = ()
    grades: Callable[[Sample, Prompt], Mapping[str, float]] | None = None
