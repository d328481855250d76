"""What an effect is asked of. Standard library only."""

from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from generators.config import setting

FAMILIES = ("clinical", "clinical-gan")


@dataclass(frozen=True, kw_only=True)
class EffectConfig:
    """Which fields are changed, on which cases, and how large an effect has to be."""

    version: str = setting(
        "latest", "Generator version: an id or the first digits of one.", panel="What is asked"
    )
    control: str | None = setting(
        None, "Control version that ignores the text (--set fusion=none).", shown="none"
    )
    fields: tuple[str, ...] = setting(
        (), "Field of the record to change; repeat for several.", option="--field", shown="all"
    )
    values: tuple[str, ...] = setting(
        (),
        "Its values, such as never,current or 24,46,68; one --values per --field, in order.",
        shown="from the least to the most",
    )
    cases: tuple[str, ...] = setting(
        (),
        "MASK+RECORD, a mask file and JSON such as {...}, or a file of it; repeat for several.",
        option="--case",
        shown="held-out cases of the workspace",
    )
    count: int = setting(16, "Largest number of held-out cases.", min=1)
    smallest: float = setting(5.0, "Smallest effect of interest, in the image's unit (HU).", min=0)
    seed: int = setting(0, "Seed of the noise.", min=0)
    steps: int = setting(12, "Sampling steps.", min=1, panel="How images are made")
    batch_size: int = setting(8, "Images per compute batch.", min=1)
    pictures: int = setting(4, "Number of cases to show as pictures and keep as NIfTI.", min=0)
    device: str = setting("auto", "Device to compute on: auto, cpu, cuda or cuda:1.", panel="Where")

    def __post_init__(self) -> None:
        """Refuse values that belong to no field."""
        if self.values and len(self.values) != len(self.fields):
            raise CurateError(
                f"{len(self.values)} --values for {len(self.fields)} --field: give one each, in "
                "order."
            )


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The procedural chests that the demo makes, and how long it trains."""

    cases: int = setting(160, "Number of chests to make.", min=20, panel="The chests")
    side: int = setting(16, "Voxels along each side.", min=16)
    smoking: float = setting(60.0, "Planted effect of smoking on the lungs, in HU.")
    family: str = setting(
        FAMILIES[0], "Family to train; clinical-gan makes an image in one step.", choices=FAMILIES
    )
    steps: int = setting(1200, "Training steps; 0: only make and import.", min=0)
    seed: int = setting(0, "Seed of the chests and of the training.", min=0)
    folder: Path | None = setting(None, "Folder for the files.", shown="demo-data in the workspace")
