"""What a translator is shown of its source. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from generators.config import setting
from generators.errors import GeneratorError

SHOWN = ("contrast", "cross", "self", "mind")
ESTIMATORS = ("renyi", "histogram")


@dataclass(frozen=True, kw_only=True)
class TranslationSettings:
    """How a translator is begun: its size, and how it looks at the other modality."""

    size: int = setting(64, "Side of the square images, in pixels.")
    shows: tuple[str, ...] = setting(
        ("cross", "self"),
        "What the network is shown: contrast (the source; in training the image itself in random "
        "contrasts), cross (map of mutual information with the noisy image), self (of the source "
        "with itself), mind (self-similarity). Several with commas between them; none: nothing.",
    )
    gradient: float = setting(0.0, "Step of guidance along the cross map's gradient; 0: none.")
    patch: int = setting(3, "Side of the maps' patches, odd.")
    estimator: str = setting("renyi", "Estimator of mutual information: renyi or histogram.")
    channels: tuple[int, ...] = setting((32, 64, 96), "Channels of the U-Net, by level.")
    layers: int = setting(1, "Residual blocks at each level of the U-Net.")
    # 2 is a quarter of the work
    fold: int = setting(1, "Pixels a side that enter the U-Net as channels of one place.")

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        object.__setattr__(self, "shows", tuple(s for s in self.shows if s != "none"))
        object.__setattr__(self, "channels", tuple(self.channels))
        halvings = self.fold * 2 ** (len(self.channels) - 1)
        for holds, needed in (
            (set(self.shows) <= set(SHOWN), f"shows are of {', '.join(SHOWN)}"),
            (self.patch >= 3 and self.patch % 2 == 1, "patch is odd, 3 or more"),
            (self.estimator in ESTIMATORS, f"estimator is one of {', '.join(ESTIMATORS)}"),
            (
                self.size >= 8 and halvings and self.size % halvings == 0,
                f"size is a multiple of {halvings}",
            ),
            (
                self.channels and all(c > 0 and c % 8 == 0 for c in self.channels),
                "channels are multiples of 8",
            ),
            (
                min(self.layers, self.fold) >= 1 and self.gradient >= 0,
                "layers and fold are 1 or more, gradient 0 or more",
            ),
        ):
            if not holds:
                raise GeneratorError(f"No such translator: {needed}. Found: {self}.")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "shows": list(self.shows), "channels": list(self.channels)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TranslationSettings":
        """Return the settings that `to_json` wrote."""
        tuples = {name: tuple(values[name]) for name in ("shows", "channels")}
        return cls(**{**values, **tuples})
