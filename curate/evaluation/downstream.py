"""What training on a set brings, within an evaluation: classifiers, captions, features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import CurateError
from curate.evaluation.config import CaptionConfig, SelfSupervisedConfig, UtilityConfig
from curate.evaluation.reports import Reports, measure_reports
from curate.evaluation.self_supervised import measure_self_supervision
from curate.evaluation.sets import ImageSet
from curate.evaluation.utility import CHECKED, Utility, measure_utility
from curate.evaluation.utility_sides import UtilitySides
from curate.progress import ShowProgress
from rewards.backbones import Backbone

# fewer draws and ratios than `curate utility` has by itself: a table of minutes
PROBE = UtilityConfig(per_class="5,10,all", ratios="1,5", draws=3)
NETWORK = UtilityConfig(model="cnn", per_class="all", ratios="5", draws=2)
CAPTIONS = CaptionConfig(ratios="1", draws=1)
WITHOUT_LABELS = SelfSupervisedConfig(draws=1, steps=150)


@dataclass(frozen=True)
class Downstream:
    """Classifiers, captions and features learned with and without the sets."""

    classifiers: tuple[Utility, ...]
    captions: Reports | None
    self_supervised: Utility | None
    missing: tuple[str, ...]  # what could not be learned, and why

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "classifiers": [one.to_json() for one in self.classifiers],
            "captions": self.captions and self.captions.to_json(),
            "self_supervised": self.self_supervised and self.self_supervised.to_json(),
            "missing": list(self.missing),
        }

    def lines(self) -> list[str]:
        """Return the tables for a person to read."""
        told = [table.lines(ways=("", CHECKED)) for table in self.classifiers]
        told += [table.lines() for table in (self.captions, self.self_supervised) if table]
        lines = [line for table in told for line in ["", *table]]
        return [*lines, *(f"  utility      - ({why})" for why in self.missing)]


def downstream_of(
    sets: Sequence[ImageSet],
    train: ImageSet,
    test: ImageSet | None,
    backbone: Backbone,
    progress: ShowProgress,
    *,
    is_full: bool,
) -> Downstream:
    """Train on real images with and without each set, and test on the held-out real ones.

    What cannot be learned from these images is named and the rest goes on. What was trained before
    a stop is not trained again.
    """
    if test is None:
        return Downstream((), None, None, ("no held-out real images (--test)",))
    sides = UtilitySides(train, test, tuple(sets), ())
    missing: list[str] = []

    def tried(what: str, learn: Callable[[], Any]) -> Any:
        try:
            return learn()
        except CurateError as reason:
            missing.append(f"{what}: {reason}")
            return None

    classifiers = [tried("probe", lambda: measure_utility(sides, backbone, PROBE, progress))]
    captions = without_labels = None
    if is_full:
        network = tried("network", lambda: measure_utility(sides, backbone, NETWORK, progress))
        classifiers.append(network)
        captions = tried("captions", lambda: measure_reports(sides, backbone, CAPTIONS, progress))
        without_labels = tried(
            "features without labels",
            lambda: measure_self_supervision(sides, WITHOUT_LABELS, progress),
        )
    return Downstream(
        tuple(one for one in classifiers if one), captions, without_labels, tuple(missing)
    )
