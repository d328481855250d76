"""What a release keeps of each class, and which classes it leaves without images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Class = tuple[str, str | None]  # modality, label
LOW_SHARE = 1 / 3  # of the median class's share kept


@dataclass(frozen=True)
class ClassKept:
    """How much of one class was kept of what was offered."""

    modality: str
    label: str | None
    kept: int
    offered: int
    is_short: bool  # none, or far less than of the other classes
    quota: int | None = None  # that was asked for

    @property
    def is_underfilled(self) -> bool:
        """Say whether fewer images leave than the quota asked for."""
        return self.quota is not None and self.kept < self.quota

    @property
    def share(self) -> float:
        """Return 0 .. 1."""
        return self.kept / self.offered

    @property
    def said(self) -> str:
        """Return it in words, for a warning."""
        name = f"{self.modality} {self.label}" if self.label else f"{self.modality} without label"
        kept = f"kept {self.kept} of {self.offered} {name} ({100 * self.share:.0f} %)"
        return f"{kept}, fewer than the quota of {self.quota}" if self.is_underfilled else kept


def kept_by_class(
    kept: Mapping[Class, int], offered: Mapping[Class, int], *, quota: int | None = None
) -> list[ClassKept]:
    """Return what was kept of each class that was offered, by modality and label.

    A class is short when none was kept, or less than a third of the median class's share.
    """
    offered = dict(sorted(offered.items(), key=lambda row: (row[0][0], row[0][1] or "")))
    shares = [kept.get(one, 0) / count for one, count in offered.items()]
    least = LOW_SHARE * median(shares) if shares else 0.0
    return [
        ClassKept(*one, kept.get(one, 0), count, not kept.get(one, 0) or share < least, quota)
        for (one, count), share in zip(offered.items(), shares, strict=True)
    ]


def warning_lines(classes: Sequence[ClassKept]) -> list[str]:
    """Return a line for each class that is short, and for each modality that vanished.

    A class short of its quota is one, too.
    """
    lines = [f"WARNING: {one.said}" for one in classes if one.is_short or one.is_underfilled]
    for modality in sorted({one.modality for one in classes}):
        if not any(one.kept for one in classes if one.modality == modality):
            lines.append(f"WARNING: no {modality} image is in this release")
    return lines
