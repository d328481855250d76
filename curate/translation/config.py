"""What is translated, into what, and where it goes. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from curate.importing.config import Window, parse_window
from generators.config import setting


@dataclass(frozen=True, kw_only=True)
class TranslateOptions:
    """How `curate translate` works."""

    version: str = setting(
        "latest",
        "A translator: the modality that it was trained on, or a version's id or its beginning.",
        panel="What to do",
    )
    num_steps: int = setting(10, "Sampling steps for each slice.", option="--steps", min=1)
    strength: float = setting(
        1.0, "Start from the source, noised for this share of the steps, as SDEdit; 1: from noise."
    )
    seed: int = setting(0, "Seed of the noise: one for all slices.", min=0)
    batch_size: int = setting(16, "Slices in a compute batch.", min=1)
    out: Path = setting(Path("translated"), "Folder for the translated files.", panel="Files")
    targets: tuple[Path, ...] = setting(
        (),
        "True images of the target modality, one a source in the same order; for figures only.",
        option="--target",
    )
    window: Window = setting(
        "full",
        "Grey-level window of DICOM and NIfTI: header, full, or center,width.",
        parse=parse_window,
    )
    segment: str | None = setting(
        None,
        "Your segmenter, run on each file: a command with {in} and {out}, which are NIfTI or PNG.",
    )
    labels: tuple[Path, ...] = setting(
        (), "True label maps, one a source in the same order: Dice against them.", option="--truth"
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:1.", panel="Where")

    def check(self, sources: Sequence[Path]) -> None:
        """Raise CurateError for what cannot be done with these sources."""
        for name, others in (("--target", self.targets), ("--truth", self.labels)):
            if others and len(others) != len(sources):
                raise CurateError(
                    f"{len(others)} {name} for {len(sources)} sources: give one each, in order."
                )
        if self.labels and self.segment is None:
            raise CurateError("--truth measures a segmentation: give --segment COMMAND, too.")
        if self.segment is not None and not ("{in}" in self.segment and "{out}" in self.segment):
            raise CurateError("--segment: the command needs {in} and {out}, which become files.")
        names = [path.name.partition(".")[0] for path in sources]
        if twice := [name for name in names if names.count(name) > 1]:
            raise CurateError(f"Two sources are called {twice[0]}: their results would be one.")
