"""A name in the settings -> the algorithm that makes images. `dpo` is given its images."""

from generators.rl.algorithms.base import Algorithm
from generators.rl.algorithms.draft import draft
from generators.rl.algorithms.nft import nft
from generators.rl.algorithms.policy_gradient import policy_gradient


def algorithm_named(name: str) -> Algorithm:
    """Return it; `RLConfig` has refused names that are not here."""
    algorithms: dict[str, Algorithm] = {
        "window": policy_gradient,
        "ddpo": policy_gradient,
        "nft": nft,
        "draft": draft,
    }
    return algorithms[name]
