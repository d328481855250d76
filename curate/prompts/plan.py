"""From prompt lines to what is wanted of a generator: rows, counts and seeds, as they are read."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from curate.importing.conditions import ConditionImages
from curate.production.plan import Wanted
from curate.prompts.sheet import (
    Beside,
    PromptLine,
    PromptSheet,
    balanced,
    prompts_of_each_label,
    read_prompt_sheet,
)
from curate.workspace import Workspace
from db import queries

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


def read_sheet(ws: Workspace, path: Path) -> PromptSheet:
    """Read a sheet whole; its condition images are put into the workspace."""
    return read_prompt_sheet(path, Beside(conditions=ConditionImages(ws, path.parent)))


def balanced_lines(
    ws: Workspace, read: Callable[[], Iterator[PromptLine]], target: int
) -> Iterator[PromptLine]:
    """Return the lines with counts that bring each label to `target` images, real ones included.

    The sheet is read twice: once to count its prompts, once to share out what is missing.
    """
    num_prompts = prompts_of_each_label(read())
    have = queries.images.num_real_images_by_label(ws.session)
    return balanced(read(), num_prompts, target=target, have=have)
