"""What a search may ask for. Standard library only."""

from dataclasses import dataclass

from generators.config import setting

FOR = "For research and teaching only: likeness is no diagnosis."


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Which of the nearest images are shown."""

    modality: str | None = setting(None, "Images of this modality only.", shown="any")
    count: int = setting(8, "Images to show, of real and of synthetic ones each.", min=1, max=100)
