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
        "Translator: the modality it was trained on, or a version's id or its first digits.",
        panel="What to do",
    )
    num_steps: int = setting(10, "Sampling steps for each slice.", option="--steps", min=1)
    strength: float = setting(
        1.0,
        "Start from the source, noised for this share of the steps (SDEdit); 1: from pure noise.",
    )
    seed: int = setting(0, "Seed of the noise, the same for all slices.", min=0)
    batch_size: int = setting(16, "Slices per compute batch.", min=1)
    out: Path = setting(Path("translated"), "Folder for the translated files.", panel="Files")
    targets: tuple[Path, ...] = setting(
        (),
        "True images of the target modality, one per source in the same order; for measuring only.",
        option="--target",
    )
    window: Window = setting(
        "full",
        "Grey-level window of DICOM and NIfTI: header, full, or center,width.",
        parse=parse_window,
    )
    segment: str | None = setting(
        None,
        "Segmenter to run on each file: a command with {in} and {out}, which become NIfTI or PNG.",
    )
    labels: tuple[Path, ...] = setting(
        (), "True label maps, one per source in the same order, for Dice.", option="--truth"
    )
    device: str = setting("auto", "Device to compute on: auto, cpu, cuda or cuda:1.", panel="Where")

    def check(self, sources: Sequence[Path]) -> None:
        """Raise CurateError for what cannot be done with these sources."""
        for name, others in (("--target", self.targets), ("--truth", self.labels)):
            if others and len(others) != len(sources):
                raise CurateError(
                    f"{len(others)} {name} for {len(sources)} sources: give one for each, in order."
                )
        if self.labels and self.segment is None:
            raise CurateError("--truth measures a segmentation: give --segment COMMAND, too.")
        if self.segment is not None and not ("{in}" in self.segment and "{out}" in self.segment):
            raise CurateError("--segment: the command needs {in} and {out}, which become files.")
        names = [path.name.partition(".")[0] for path in sources]
        if twice := [name for name in names if names.count(name) > 1]:
            raise CurateError(f"Two sources are called {twice[0]}: their results would be one.")
