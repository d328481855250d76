"""What a gate of this size can find, before anybody is asked: the chance that it promotes.

The paired differences that a gate measures scatter by what raters and images differ in. How much
was simulated with the quickstart's raters (`python -m benchmarks.rl.gate`); people may scatter
more.
"""

import math
from dataclasses import dataclass

from scipy import stats

from curate.loop.config import LoopConfig
from curate.rating.config import SIMULATED

# variances of "rated top, new - start", of one prompt and seed: what all raters see in the images,
# and what one rater adds
IMAGES_VARIANCE, RATER_VARIANCE = 0.03, 0.295


def looks(config: LoopConfig) -> int:
    """Return how many raters look at an image of this loop."""
    simulated = config.raters == SIMULATED
    return min(config.overlap, config.num_raters) if simulated else config.overlap


@dataclass(frozen=True)
class Scatter:
    """How the paired differences of one prompt and seed scatter; as assumed where not measured."""

    images: float = IMAGES_VARIANCE
    rater: float = RATER_VARIANCE
    num_images: int = 0  # rated by two or more, from which `rater` was measured; 0: assumed


def power(
    config: LoopConfig, num_prompts: int, rise: float, scatter: Scatter | None = None
) -> float:
    """Return the chance that a version is promoted whose share of top ratings rises by `rise`.

    The difference over its standard error follows Student's t with one degree of freedom less than
    there are prompts, not central where the share does change.
    """
    if num_prompts < 2:
        return 0.0
    scatter = scatter or Scatter()
    variance = scatter.images + scatter.rater / looks(config)
    error = math.sqrt(variance / (num_prompts * config.gate_images_per_prompt))
    freedom = num_prompts - 1
    needed = stats.t.ppf(0.5 + config.gate_confidence / 2, freedom) - config.gate_tolerance / error
    return float(stats.nct.sf(max(needed, 0.0), freedom, rise / error))
