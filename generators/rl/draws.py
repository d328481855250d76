"""Which prompts and seeds an update uses: all derives from (config.seed, update number).

So there is no random state to save or restore, and every process can work out any other's share.
"""

import hashlib
import random

from generators.rl.config import RLConfig


def drawn(num_things: int, per_update: int, config: RLConfig, update: int, what: str) -> list[int]:
    """Return which things to use: shuffled rounds over all, cut into updates."""
    first = update * per_update
    chosen = []
    for position in range(first, first + per_update):
        round_number, offset = divmod(position, num_things)
        order = list(range(num_things))
        random.Random(f"{config.seed} {what} {round_number}").shuffle(order)
        chosen.append(order[offset])
    return chosen


def prompts_of_update(num_prompts: int, config: RLConfig, update: int) -> list[int]:
    """Return which prompts to use."""
    return drawn(num_prompts, config.prompts_per_update, config, update, "prompts")


def rollout_seed(config: RLConfig, update: int, index: int) -> int:
    """Return the seed of one image, 63 bits: no other (run seed, update, index) has it."""
    return hashed_seed(f"rl {config.seed} {update} {index}")


def hashed_seed(name: str) -> int:
    """Return 63 bits that only this name has."""
    digest = hashlib.sha256(f"curate {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
