"""What a report is told. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How much a page shows and measures."""

    num_pairs: int = 12  # images before and after, side by side
    num_best: int = 8  # and as many worst
    num_of_release: int = 24
    images_per_version: int = 300  # measured by judge and feature network; pairs likewise
