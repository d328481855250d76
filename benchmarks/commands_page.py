"""docs/commands.md: every command and option, as `--help` has them.

    python -m benchmarks.commands_page

writes the page anew; `tests/test_docs.py` fails where it is not current.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

import cli

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
HEAD = """# Commands

Made by `python -m benchmarks.commands_page` from the commands themselves: what `--help` says, on
one page. Where a command has `--workspace`, the default is the current folder, or the nearest
workspace above it.
"""


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([HEAD, *_of_group(typer.main.get_command(cli.app), "curate")])


def _of_group(group: Any, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield from _of_command(command, f"{path} {name}")
            yield from _of_group(command, f"{path} {name}")
        else:
            yield from _of_command(command, f"{path} {name}")


def _of_command(command: Any, path: str) -> Iterator[str]:
    said, _, example = (command.help or "").partition("Example: ")
    yield f"## {path}\n\n{said.strip()}\n"
    if example:
        yield f"    {' '.join(example.split())}\n"
    rows = [_row(parameter) for parameter in command.params if not parameter.hidden]
    if rows:
        yield "\n".join(["| option | default | what it says |", "|---|---|---|", *rows]) + "\n"


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    names = (
        [parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    )
    said = " ".join((parameter.help or "").split())
    descriptor = getattr(parameter, "type_descriptor", None)
    annotation = getattr(descriptor, "annotation", None)
    if get_origin(annotation) is Literal:
        said += f" One of {', '.join(map(str, get_args(annotation)))}."
    if parameter.multiple and "repeat" not in said:
        said += " May be given again."
    cells = (", ".join(f"`{name}`" for name in names), _default(parameter), said)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(parameter: Any) -> str:
    """Return a default in the words of `--help`."""
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", False)
    if isinstance(shown, str):
        return shown
    if not shown or parameter.default in (None, (), False) or callable(parameter.default):
        return ""
    return f"{parameter.default}"


if __name__ == "__main__":
    PAGE.write_text(page())
