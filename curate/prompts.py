"""Prompt sheets: what to generate, from a CSV or from options on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from curate.errors import CurateError
from curate.importing.table import Columns, Remark, Row, read_table
from curate.modalities import NoModality, canonical_modality, is_modality, resolve_modality

COLUMNS = Columns(
    spellings={
        "modality": ("modality", "modal"),
        "text": ("text", "caption", "prompt", "description"),
        "label": ("label",),
        "count": ("count", "number", "n"),
    },
    needed=("text",),
    free_text="text",
)


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt and how many images it asks for."""

    modality: str  # canonical
    text: str
    label: str | None = None
    count: int | None = None  # None: as many as `--count` says


@dataclass(frozen=True, kw_only=True)
class PromptSheet:
    """The prompts in the order of the sheet, the refused lines, and notes."""

    prompts: list[PromptLine]
    refused: list[Remark]
    notes: list[Remark]


def read_prompt_sheet(
    path: Path, *, modality: str | None = None, new_modalities: Sequence[str] = ()
) -> PromptSheet:
    """Read a CSV with the columns modality and text, optionally label and count.

    `modality` is for lines without one. A line that stands twice is refused: count says how many
    images. Raises CurateError when the file is no such table or has no prompt.
    """
    table = read_table(path, COLUMNS, partial(is_modality, new=new_modalities))
    refused = list(table.refused)
    lines: dict[PromptLine, int] = {}
    for row in table.rows:
        try:
            line = _prompt_line(row, modality, new_modalities)
            same = lines.setdefault(line, row.line)
            if same != row.line:
                raise _Refused(f"the same prompt as line {same}: say how many in a column count")
        except (_Refused, NoModality) as reason:
            refused.append(Remark(path.name, row.line, str(reason)))
    if not lines:
        first = f" ({refused[0]})" if refused else ""
        raise CurateError(f"{path.name} has no prompt to use{first}. Give modality,text a line.")
    return PromptSheet(
        prompts=list(lines),
        refused=sorted(refused, key=lambda remark: remark.line),
        notes=list(table.notes),
    )


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
    except (_Refused, NoModality) as error:
        raise CurateError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
    return [PromptLine(modality=modality, text=text) for modality, text in dict.fromkeys(pairs)]


class _Refused(ValueError):
    """A line cannot be taken; the message is the reason."""


def _prompt_line(row: Row, modality: str | None, new: Sequence[str]) -> PromptLine:
    cells = row.cells
    given = cells.get("modality") or modality
    canonical, text = _pair(cells["text"], given, new)
    return PromptLine(
        modality=canonical,
        text=text,
        label=cells.get("label") or None,
        count=_count(cells.get("count", "")),
    )


def _pair(text: str, modality: str | None, new: Sequence[str]) -> tuple[str, str]:
    """Return (canonical modality, text); "OCT: drusen" without a modality is split at its colon."""
    if not text.strip():
        raise _Refused("the prompt's text is empty")
    before, colon, after = text.partition(":")
    if modality is None and colon and after.strip() and canonical_modality(before):
        modality, text = before, after
    text = text.strip()
    return resolve_modality(modality or "", text, new=new), text


def _count(written: str) -> int | None:
    if not written:
        return None
    if not written.isdecimal() or int(written) < 1:
        raise _Refused(f"count {written!r}: give a whole number from 1")
    return int(written)
