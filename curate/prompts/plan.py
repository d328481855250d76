"""From prompt lines to what is wanted of a generator: rows, counts and seeds, as they are read."""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from curate.importing.conditions import ConditionImages
from curate.production.plan import Wanted
from curate.prompts.sheet import (
    Beside,
    PromptLine,
    balanced,
    prompts_of_each_label,
    read_prompt_sheet,
)
from curate.workspace import Workspace
from db import queries
from db.models import Prompt
from generators.embedded import PROMPTS

ROWS_A_STATEMENT = 1000


def planned(
    ws: Workspace, lines: Iterable[PromptLine], *, count: int, first_seed: int, keep: bool = True
) -> Iterator[Wanted]:
    """Yield what each line wants; the options hold where it says nothing.

    The prompts' rows are added unless `keep` is False: somebody only asks what is missing. Read a
    thousand lines at a time: memory does not grow with the sheet.
    """
    waiting = iter(lines)
    while part := list(islice(waiting, ROWS_A_STATEMENT)):
        if keep:
            queries.prompts.add_prompts(ws.session, [line.prompt for line in part])
        for line in part:
            seed = first_seed if line.seed is None else line.seed
            yield Wanted(line.prompt.prompt_id, line.count or count, seed)


def rows_of(ws: Workspace, lines: Iterable[PromptLine]) -> list[Prompt]:
    """Return the rows of prompt lines, adding new ones."""
    ids = queries.prompts.add_prompts(ws.session, [line.prompt for line in lines])
    found = queries.prompts.prompts_by_id(ws.session, ids)
    return [found[prompt_id] for prompt_id in ids]


def sheet_rows(ws: Workspace, path: Path, say: Callable[[str], None]) -> list[Prompt]:
    """Return the rows of a sheet's prompts; `say` is told of notes and refused lines."""
    # its condition images are put into the workspace
    sheet = read_prompt_sheet(path, Beside(conditions=ConditionImages(ws, path.parent)))
    for remark in sheet.notes:
        say(str(remark))
    for remark in sheet.refused:
        say(f"refused: {remark}")
    return rows_of(ws, sheet.prompts)


def embedded_prompts(ws: Workspace) -> list[Prompt]:
    """Return the shipped prompts, five modalities with their findings, as rows."""
    return [
        queries.prompts.get_or_add_prompt(
            ws.session, modality=row["modality"], text=row["text"], label=row["label"]
        )
        for row in shipped_prompts()
    ]


def shipped_prompts() -> list[dict[str, str]]:
    """Return modality, text and label of what the embedded model was made to draw."""
    with PROMPTS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def balanced_lines(
    ws: Workspace, read: Callable[[], Iterator[PromptLine]], target: int
) -> Iterator[PromptLine]:
    """Return the lines with counts that bring each label to `target` images, real ones included.

    The sheet is read twice: once to count its prompts, once to share out what is missing.
    """
    num_prompts = prompts_of_each_label(read())
    have = queries.images.num_real_images_by_label(ws.session)
    return balanced(read(), num_prompts, target=target, have=have)
