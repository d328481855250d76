"""Prompt sheets: what to generate, from a CSV or from options on the command line.

A line may be a whole grid: `{finding}` in its text stands for the choices in its column `finding`,
separated by `|`, and every combination is a prompt. Sheets are read as they are used, so that a
million prompts take no more memory than ten.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.importing.conditions import Condition, ConditionImages, new_prompt
from curate.importing.errors import Refused
from curate.importing.extra import named_conditions, with_extra_columns
from curate.importing.records import RECORD, Records, record_of
from curate.importing.table import Columns, Remark, Row, header_of, stream_rows
from curate.importing.workbook import SUFFIX, workbook_rows
from curate.modalities import NoModality, canonical_modality, is_modality, resolve_modality
from db.queries.prompts import NewPrompt

COLUMNS = Columns(
    spellings={
        "modality": ("modality", "modal"),
        "text": ("text", "caption", "prompt", "description"),
        "label": ("label",),
        "count": ("count", "number", "n"),
        "seed": ("seed", "first_seed"),
        "mask": ("mask",),
        "prior": ("prior",),
        "source": ("source",),
        RECORD: (RECORD,),
    },
    needed=("text",),
    free_text="text",
    in_words=("text", "label", "patient"),
)
ROLES = ("mask", "prior", "source")
KEYS = {"patient": ("patient", "patient_id"), "image": ("image",)}  # by which records are found
PLACEHOLDER = re.compile(r"\{(\w+)\}")
BETWEEN_CHOICES = "|"
SAY_HOW_MANY = "say how many in a column count"
REMEMBERED = 20_000  # prompts of a sheet that a repetition is looked for among
Label = tuple[str, str | None]  # modality and label


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt and how many images it asks for."""

    modality: str  # canonical
    text: str
    label: str | None = None
    count: int | None = None  # images; None: as many as `--count` says
    seed: int | None = None  # of its first image; None: as `--seed` says
    record: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    @cached_property
    def prompt(self) -> NewPrompt:
        """Return what the line asks to show."""
        return new_prompt(self.modality, self.text, self.label, self.record, self.conditions)


@dataclass(frozen=True, kw_only=True)
class PromptSheet:
    """The prompts in the order of the sheet, the refused lines, and notes."""

    prompts: list[PromptLine]
    refused: list[Remark]
    notes: list[Remark]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a sheet is read with, beside its own lines."""

    modality: str | None = None  # for lines without one
    new_modalities: Sequence[str] = ()
    conditions: ConditionImages | None = None  # finds what the columns of roles name
    records: Records | None = None


def read_prompt_sheet(path: Path, beside: Beside = Beside()) -> PromptSheet:  # noqa: B008 (frozen)
    """Read a CSV with the columns modality and text, optionally label, count, seed and choices.

    Columns of roles (mask, prior, source, condition:ROLE) name condition images, `record:NAME` and
    `record` say a clinical record. A prompt that stands twice is refused: count says how many
    images. Raises CurateError when the file is no such table or has no prompt.
    """
    refused: list[Remark] = []
    notes: list[Remark] = []
    lines = list(stream_prompts(path, beside, refuse=refused.append, note=notes.append))
    return PromptSheet(
        prompts=lines, refused=sorted(refused, key=lambda remark: remark.line), notes=notes
    )


def stream_prompts(
    path: Path,
    beside: Beside = Beside(),  # noqa: B008 (frozen)
    *,
    refuse: Callable[[Remark], None],
    note: Callable[[Remark], None] = lambda remark: None,
) -> Iterator[PromptLine]:
    """Yield what `read_prompt_sheet` returns, one at a time: memory does not grow with the sheet.

    `refuse` is told of bad lines. A prompt that stands twice is refused within a sheet's first
    20,000; a later repetition does no harm, since an image is made once.
    """
    columns = _columns_of(path, beside)

    def known(name: str) -> bool:
        choices = name.split(BETWEEN_CHOICES)
        return all(is_modality(choice, new=beside.new_modalities) for choice in choices)

    first_refusal: list[Remark] = []

    def refused(line: int, reason: object) -> None:
        remark = reason if isinstance(reason, Remark) else Remark(path.name, line, str(reason))
        first_refusal[1:] = [] if first_refusal else [remark]
        refuse(remark)

    seen: dict[tuple[str, int | None, int | None], int] = {}
    found_any = False
    rows = stream_rows(
        path, columns, known, refuse=lambda remark: refused(remark.line, remark), note=note
    )
    for row in rows:
        try:
            for line in _expanded(row, beside):
                key = (line.prompt.prompt_id, line.count, line.seed)
                same = seen.get(key)
                if same is not None:
                    refused(row.line, f"the same prompt as line {same}: {SAY_HOW_MANY}")
                    continue
                if len(seen) < REMEMBERED:
                    seen[key] = row.line
                found_any = True
                yield line
        except (Refused, NoModality) as reason:
            refused(row.line, reason)
    if not found_any:
        first = f" ({first_refusal[0]})" if first_refusal else ""
        raise CurateError(f"{path.name} has no prompt to use{first}. Give modality,text a line.")


def prompts_of_each_label(lines: Iterator[PromptLine]) -> Counter[Label]:
    """Count the prompts of each modality and label, in one pass."""
    counts: Counter[Label] = Counter()
    for line in lines:
        if line.count is not None:
            raise CurateError(
                f"{line.modality}: {line.text!r} asks for {line.count} images, and --balance for "
                "equally many of each label. Leave the column count empty, or omit --balance."
            )
        counts[line.modality, line.label] += 1
    return counts


def balanced(
    lines: Iterator[PromptLine],
    num_prompts: Mapping[Label, int],
    *,
    target: int,
    have: Mapping[Label, int],
) -> Iterator[PromptLine]:
    """Yield the prompts with counts that bring every label to `target` images in all.

    `have` says how many there are without the sheet: real ones. What is missing of a label is
    shared out equally among its prompts, the first ones taking one more; a prompt that nothing is
    left for is passed over.
    """
    place: Counter[Label] = Counter()
    for line in lines:
        label = (line.modality, line.label)
        missing = max(0, target - have.get(label, 0))
        each, more = divmod(missing, num_prompts[label])
        count = each + (1 if place[label] < more else 0)
        place[label] += 1
        if count:
            yield replace(line, count=count)


def prompts_from_options(
    texts: Sequence[str], modalities: Sequence[str], *, new_modalities: Sequence[str] = ()
) -> list[PromptLine]:
    """Return each text with each modality, in the order given.

    Without a modality, a text names its own: "OCT: drusen", or one in the text itself.
    """
    if not texts:
        raise CurateError("No prompt. Give --prompt TEXT with --modality NAME, or --prompts FILE.")
    choices: Sequence[str | None] = modalities or [None]
    try:
        pairs = [_pair(text, modality, new_modalities) for text in texts for modality in choices]
    except (Refused, NoModality) as error:
        raise CurateError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
    return [PromptLine(modality=modality, text=text) for modality, text in dict.fromkeys(pairs)]


def _columns_of(path: Path, beside: Beside) -> Columns:
    """Return the columns of this sheet: ours, and those that its texts have placeholders for."""
    keys = KEYS if beside.records is not None else {}
    columns = replace(COLUMNS, spellings={**COLUMNS.spellings, **keys})
    asked: set[str] = set()
    try:
        if path.suffix.lower() == SUFFIX and path.is_file():
            for _, row in workbook_rows(path):
                asked.update(*map(PLACEHOLDER.findall, row))
        else:
            with path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    asked.update(PLACEHOLDER.findall(line))
    except OSError:
        pass  # reading the table says what is wrong
    ours = {spelling for spellings in columns.spellings.values() for spelling in spellings}
    choices = {
        name: (name.casefold(),)
        for name in (name.strip() for name in header_of(path))
        if name in asked - ours
    }
    return with_extra_columns(replace(columns, spellings={**columns.spellings, **choices}), path)


def _expanded(row: Row, beside: Beside) -> Iterator[PromptLine]:
    """Yield the prompts of a line: every combination of its modalities and its text's choices."""
    cells = row.cells
    label = cells.get("label") or None
    named = named_conditions(cells, ROLES)
    templates = " ".join([cells["text"], label or "", *named.values()])
    names = list(dict.fromkeys(PLACEHOLDER.findall(templates)))
    absent = [name for name in names if name not in cells or name in COLUMNS.spellings]
    if absent:
        raise Refused(f"{{{absent[0]}}} has no column {absent[0]!r} to take its choices from")
    count, seed = _number(cells, "count", 1), _number(cells, "seed", 0)
    record = record_of(cells, beside.records)
    if named and beside.conditions is None:
        raise ValueError("a sheet with condition images is read for a workspace")
    choices = [[choice.strip() for choice in cells[name].split(BETWEEN_CHOICES)] for name in names]
    for given in (cells.get("modality") or beside.modality or "").split(BETWEEN_CHOICES):
        for chosen in itertools.product(*choices):
            filled = dict(zip(names, chosen, strict=True))
            text = _filled(cells["text"], filled)
            canonical, text = _pair(text, given or None, beside.new_modalities)
            written = {role: _put_in(template, filled) for role, template in named.items()}
            yield PromptLine(
                modality=canonical,
                text=text,
                label=_filled(label, filled) or None if label else None,
                count=count,
                seed=seed,
                record=record,
                conditions=beside.conditions.of(written, canonical) if beside.conditions else {},
            )


def _put_in(template: str, choices: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: choices[found[1]], template)


def _filled(template: str, choices: Mapping[str, str]) -> str:
    """Put the choices in; where one is empty, no double spaces or stray commas stay behind."""
    if not choices:
        return template
    text = _put_in(template, choices)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,;.:])", r"\1", text)
    text = re.sub(r"([,;])(?:\s*[,;])+", r"\1", text)
    return text.strip(" ,;")


def _pair(text: str, modality: str | None, new: Sequence[str]) -> tuple[str, str]:
    """Return (canonical modality, text); "OCT: drusen" without a modality is split at its colon."""
    if not text.strip():
        raise Refused("the prompt's text is empty")
    before, colon, after = text.partition(":")
    if modality is None and colon and after.strip() and canonical_modality(before):
        modality, text = before, after
    text = text.strip()
    return resolve_modality(modality or "", text, new=new), text


def _number(cells: Mapping[str, str], column: str, least: int) -> int | None:
    written = cells.get(column, "")
    if not written:
        return None
    if not written.isdecimal() or int(written) < least:
        raise Refused(f"{column} {written!r}: give a whole number from {least}")
    return int(written)
