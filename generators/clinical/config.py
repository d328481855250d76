"""How a clinical generator is begun. Standard library only."""

from dataclasses import dataclass

from generators.config import setting
from generators.errors import GeneratorError

FUSIONS = ("region", "affine", "cross-attention")
NO_TEXT = "none"


@dataclass(frozen=True)
class ClinicalSettings:
    """What decides a generator's shape and what it reads; the rest it takes from the examples."""

    fusion: tuple[str, ...] = setting(
        ("region",), "How the text acts: region, affine, cross-attention, several, or none."
    )
    fields: str | None = setting(
        None, "TOML file that maps a record's fields to clauses; without it each field says itself."
    )
    patch: tuple[int, ...] | None = setting(
        None, "Size that is trained on, as D,H,W or H,W; without it at most 64 a side."
    )
    channels: tuple[int, ...] = setting((16, 32, 64), "Channels of each level; each halves sides.")
    low: float = setting(-1024.0, "Lowest HU; what lies below is clipped.")
    high: float = setting(1024.0, "Highest HU; what lies above is clipped.")
    text_width: int = setting(64, "Width of the text encoder.")
    text_layers: int = setting(2, "Layers of the text encoder.")
    text_length: int = setting(256, "Tokens that it reads at most.")
    text_encoder: str | None = setting(
        None, "Folder of a transformers text encoder with its tokenizer, instead of a small BERT."
    )
    placebos: int = setting(20, "Random placebo fields, which real effects are measured against.")

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        named = set(self.fusion) - {NO_TEXT}
        if not self.fusion or not named <= set(FUSIONS) or (NO_TEXT in self.fusion and named):
            raise GeneratorError(
                f"fusion {','.join(self.fusion)}: give some of {', '.join(FUSIONS)}, or {NO_TEXT}."
            )
        if self.patch is not None and (len(self.patch) not in (2, 3) or min(self.patch) < 4):
            raise GeneratorError(f"patch {self.patch}: two or three sides of 4 or more.")
        if not self.channels or any(width < 4 or width % 4 for width in self.channels):
            raise GeneratorError(f"channels {self.channels}: multiples of 4, one a level.")
        if self.low >= self.high:
            raise GeneratorError(f"HU from {self.low:g} to {self.high:g}: low lies below high.")
        if min(self.text_width, self.text_layers, self.text_length) < 1 or self.text_width % 4:
            raise GeneratorError(
                "text_width is a multiple of 4; text_layers, text_length 1 or more."
            )
        if self.placebos < 0:
            raise GeneratorError(f"placebos {self.placebos}: 0 or more.")

    @property
    def units(self) -> tuple[str, ...]:
        """Return the fusion units, in a fixed order."""
        return tuple(unit for unit in FUSIONS if unit in self.fusion)
