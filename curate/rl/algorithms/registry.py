"""An algorithm's name in the settings -> the algorithm."""

from curate.rl.algorithms.base import Algorithm
from curate.rl.algorithms.nft import nft
from curate.rl.algorithms.policy_gradient import policy_gradient


def algorithm_named(name: str) -> Algorithm:
    """Return it; `RLConfig` has refused names that are not here."""
    algorithms: dict[str, Algorithm] = {
        "window": policy_gradient,
        "ddpo": policy_gradient,
        "nft": nft,
    }
    return algorithms[name]
