"""What a training won and what it lost: validation losses before and after, group by group."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from curate.evaluation.intervals import bootstrap_mean
from generators.training.history import Validation

TOLERANCE = 0.05  # of the loss before: an old group is kept if its interval lies below
LEAST_IMAGES = 6  # for a verdict: by chance, all of six change to one side once in 32 times


@dataclass(frozen=True)
class KeptRow:
    """One group's images, the same before and after, at the same noise."""

    group: str
    is_new: bool  # it was to be learned; else it was to be kept
    num: int
    before: float
    after: float
    change: float  # of the mean loss, as a share of `before`; below 0 is better
    low: float  # of the 95 % bootstrap interval over images
    high: float

    @property
    def verdict(self) -> str:
        """Return in a word what happened; of a few images, nothing is said."""
        if self.num < LEAST_IMAGES:
            return "unsure"
        if self.is_new:
            return "learned" if self.high < 0 else "worse" if self.low > 0 else "unsure"
        return "kept" if self.high <= TOLERANCE else "lost" if self.low > TOLERANCE else "unsure"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"verdict": self.verdict}


def kept_table(before: Validation, after: Validation, new: Collection[str]) -> list[KeptRow]:
    """Return a row a group, those to be learned first. `new` empty: all were to be learned."""
    rows = []
    for group, losses in before.losses.items():
        mean, now = float(np.mean(losses)), after.losses[group]
        change = bootstrap_mean((np.array(now) - np.array(losses)) / mean)
        rows.append(
            KeptRow(
                group=group,
                is_new=not new or group in new,
                num=len(losses),
                before=mean,
                after=float(np.mean(now)),
                change=change.value,
                low=change.low,
                high=change.high,
            )
        )
    return sorted(rows, key=lambda row: (not row.is_new, row.group))


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table for people, from its plain values."""

    def change(row: dict[str, Any]) -> str:
        few = row["num"] < LEAST_IMAGES
        interval = "too few images" if few else f"{row['low']:+.1%} to {row['high']:+.1%}"
        return f"{row['change']:+.1%} ({interval})"

    header = f"{'group':<22}{'':<9}{'images':>7}{'before':>9}{'after':>9}  change (95 % interval)"
    return [
        header,
        *(
            f"{row['group']:<22}{row['verdict']:<9}{row['num']:>7}{row['before']:>9.4f}"
            f"{row['after']:>9.4f}  {change(row)}"
            for row in rows
        ),
    ]
