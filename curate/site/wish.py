"""What somebody tries: which version makes which prompt, how often and how. No torch.

Kept by nobody: it is made in the worker, shown, and forgotten unless it is asked to be kept.
"""

import csv
import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from curate.errors import CurateError
from curate.importing.records import value_of
from curate.prompts.sheet import prompts_from_options
from generators.config import SamplingSettings

MOST_IMAGES = 16
MOST_STEPS = 250
MOST_GUIDANCE = 100
BATCH = 4  # images a compute batch: the first are seen soon
LARGEST_SEED = 2**62
OF_IMAGE, OF_FILE, OF_RECORD = "image:", "file:", "record:"  # the form's names of inputs

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One try; two columns differ in the version, the text or one field, never in the noise."""

    columns: tuple[tuple[str, str], ...]  # (version, text)
    modality: str
    count: int
    seed: int
    settings: SamplingSettings
    record: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, str | tuple[str, bytes]] = field(default_factory=dict)  # id; name, bytes
    other: Mapping[str, Any] = field(default_factory=dict)  # of the second column's record

    @property
    def is_paired(self) -> bool:
        """Say whether two prompts share their noise."""
        return bool(self.other) or len({text for _, text in self.columns}) > 1

    def record_of(self, column: int) -> Mapping[str, Any]:
        """Return the record of one column's prompt."""
        return {**self.record, **self.other} if column else self.record

    def title_of(self, column: int) -> str:
        """Return what tells a column from the other."""
        own = [f"{name}: {self.record_of(column).get(name, 'not known')}" for name in self.other]
        return ", ".join([self.columns[column][1], *own])

    def commands(self) -> list[str]:
        """Return the commands that make and keep the same images."""
        said = [f"--count {self.count} --seed {self.seed} --steps {self.settings.num_steps}"]
        said += [f"--guidance {self.settings.guidance:g} --batch-size {BATCH}"]
        if self.settings.image_guidance is not None:
            said.append(f"--image-guidance {self.settings.image_guidance:g}")
        said += ["--paired-seeds"] if self.is_paired else []
        lines = []
        for version in dict.fromkeys(version for version, _ in self.columns):
            texts = [text for of, text in self.columns if of == version]
            if self.needs_sheet:
                asked = ["--prompts sheet.csv"]
            else:
                asked = [f"--modality {shlex.quote(self.modality)}"]
                asked += [f"--prompt {shlex.quote(text)}" for text in texts]
                asked += [f"--prior {self._named(role)}" for role in self.images]
            lines.append(" ".join([f"curate generate --version {version[:12]}", *asked, *said]))
        return lines

    @property
    def needs_sheet(self) -> bool:
        """Say whether options cannot ask for it: a record, or other images than a prior."""
        return bool(self.record or self.other) or bool(set(self.images) - {"prior"})

    def sheet(self) -> str:
        """Return the prompt sheet that asks for it, where one is needed."""
        if not self.needs_sheet:
            return ""
        written = io.StringIO()
        rows = csv.writer(written, lineterminator="\n")
        names = [*self.record_of(1)] if self.other else [*self.record]
        records = [f"record:{name}" for name in names]
        roles = [
            role if role in ("prior", "source", "mask") else f"condition:{role}"
            for role in self.images
        ]
        rows.writerow(["modality", "text", *roles, *records])
        images = [*map(self._named, self.images)]
        prompts = [
            (self.modality, text, *images, *(self.record_of(column).get(name) for name in names))
            for column, (_, text) in enumerate(self.columns)
        ]
        rows.writerows(dict.fromkeys(prompts))
        return written.getvalue()

    def _named(self, role: str) -> str:
        image = self.images[role]
        return image if isinstance(image, str) else image[0]


@dataclass(frozen=True)
class Tried:
    """One image that was made: its file, and the latest reward model's score and spread."""

    column: int
    number: int  # its seed is the wish's and so many more
    content: bytes
    score: tuple[float, float] | None


def wish_of(form: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> Wish:
    """Read a form; raises CurateError for what cannot be meant."""
    text, other = form.get("text", "").strip(), form.get("other_text", "").strip()
    if not text:
        raise CurateError("Say what the images should show.")
    asked = [text, other] if other and other != text else [text]
    lines = prompts_from_options(asked, [form.get("modality", "")])
    version, second = form.get("version", ""), form.get("other_version", "")
    columns = [(version, line.text) for line in lines]
    if second and second != version:
        if len(columns) > 1:
            raise CurateError("Compare two versions or two texts, not both at once.")
        columns.append((second, lines[0].text))
    record = {
        name.removeprefix(OF_RECORD): value_of(value.strip())
        for name, value in form.items()
        if name.startswith(OF_RECORD) and value.strip()
    }
    changed, value = form.get("other_field", ""), form.get("other_value", "").strip()
    beside = {changed: value_of(value)} if changed and value else {}
    if beside and beside != {changed: record.get(changed)}:
        if len(columns) > 1:
            raise CurateError("Compare two versions, two texts or two values, one at once.")
        columns.append((version, lines[0].text))
    else:
        beside = {}
    images: dict[str, str | tuple[str, bytes]] = {
        name.removeprefix(OF_IMAGE): value.strip()
        for name, value in form.items()
        if name.startswith(OF_IMAGE) and value.strip()
    }
    images |= {name.removeprefix(OF_FILE): file for name, file in files.items()}
    return Wish(
        columns=tuple(columns),
        modality=lines[0].modality,
        count=_number(form, "count", int, 4, MOST_IMAGES),
        seed=_number(form, "seed", int, 0, LARGEST_SEED),
        settings=SamplingSettings(
            num_steps=_number(form, "steps", int, 20, MOST_STEPS),
            guidance=_number(form, "guidance", float, 1.0, MOST_GUIDANCE),
            image_guidance=_number(form, "image_guidance", float, 1.0, MOST_GUIDANCE)
            if form.get("image_guidance")
            else None,
            batch_size=BATCH,
        ),
        record=record,
        images=dict(sorted(images.items())),
        other=beside,
    )


def _number(
    form: Mapping[str, str], name: str, kind: type[Number], usual: Number, most: float
) -> Number:
    """Return a number of the form, from 0 (of what is counted from 1) to `most`."""
    written = form.get(name, "") or str(usual)
    least = 1 if name in ("count", "steps") else 0
    try:
        number = kind(written)
    except ValueError:
        number = kind(-1)
    if not least <= number <= most:
        raise CurateError(f"{name} is {written[:40]!r}; it goes from {least} to {most:g}.")
    return number
