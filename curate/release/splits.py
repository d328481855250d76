"""Splits that keep groups whole: all images of a prompt, or of a patient, on one side."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from curate.errors import CurateError

TRAIN, VALIDATION, TEST = ORDER = "train", "validation", "test"
HELD_OUT = {"val": (VALIDATION, TEST), "test": (TEST, VALIDATION)}  # imported for: goes to


@dataclass(frozen=True)
class Member:
    """One image, and what it shares with others."""

    key: str
    shared: Collection[str]  # "prompt ...", "patient ..."; at least one
    fixed: str | None = None  # the split that it must be in


def shares_of(val_share: float, test_share: float) -> dict[str, float]:
    """Return the share of every split that is asked for, train first."""
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise CurateError(
            f"Shares of {val_share} for validation and {test_share} for test: each is at least 0, "
            "and together they leave something to train on."
        )
    shares = {TRAIN: 1 - val_share - test_share, VALIDATION: val_share, TEST: test_share}
    return {split: share for split, share in shares.items() if share > 0}


def split_of_imported(imported: str | None, shares: Mapping[str, float]) -> str | None:
    """Return the split of a release for what shows a patient that was imported for one.

    Who was held out stays held out, in the other such split where the release lacks theirs. None:
    any; with a single split there is no choice.
    """
    if imported == TRAIN or len(shares) == 1:
        return TRAIN if imported == TRAIN else None
    return next((split for split in HELD_OUT.get(imported or "", ()) if split in shares), None)


def split_by_group(members: Sequence[Member], shares: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return each image's (split, group), in order; what shares anything is one group.

    Groups come in an order hashed from their images, each to the split that lacks most: the same
    images give the same splits. Groups are numbered, so that they name no patient.
    A group whose images must be in several goes to the one that is held out furthest.
    Raises CurateError when there are fewer groups than splits.
    """
    parent = list(range(len(members)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[str, int] = {}
    for place, member in enumerate(members):
        for name in member.shared:
            parent[root(place)] = root(first.setdefault(name, place))
    group_of = [root(place) for place in range(len(members))]
    keys: dict[int, str] = {}  # of each group, its first
    for group, member in zip(group_of, members, strict=True):
        keys[group] = min(keys.get(group, member.key), member.key)
    order = sorted(keys, key=lambda group: hashlib.sha256(keys[group].encode()).hexdigest())
    if len(order) < len(shares):
        raise CurateError(
            f"{len(order)} groups of prompts and patients cannot fill {len(shares)} splits: a "
            "group stays whole. Ask for fewer splits, or export images of more prompts."
        )
    sizes = Counter(group_of)
    must = sorted(
        (ORDER.index(m.fixed), g) for g, m in zip(group_of, members, strict=True) if m.fixed
    )
    fixed = {group: ORDER[place] for place, group in must}  # of several the last
    missing = {split: share * len(members) for split, share in shares.items()}
    split_of: dict[int, str] = {}
    for group in sorted(order, key=lambda group: group not in fixed):
        split = fixed.get(group) or max(missing, key=lambda split: missing[split])
        missing[split] -= sizes[group]
        split_of[group] = split
    names = {group: f"group-{number:06d}" for number, group in enumerate(order, start=1)}
    return [(split_of[group], names[group]) for group in group_of]
