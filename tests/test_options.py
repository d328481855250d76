"""The command line of before: no option loses its name or its default.

`python tests/test_options.py` writes the record anew, after a change that is meant.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import cli

RECORD = Path(__file__).parent / "golden" / "options.json"


def all_commands() -> dict[str, dict[str, Any]]:
    """Return each command's options: name -> what `--help` shows as its default."""

    def walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
        if path:
            yield path, group
        for name, command in getattr(group, "commands", {}).items():
            yield from walk(command, f"{path} {name}".strip())

    app = typer.main.get_command(cli.app)
    return {
        name: {spelled(option): default_of(option) for option in command.params}
        for name, command in walk(app, "")
        if command.params
    }


def spelled(option: Any) -> str:
    if option.param_type_name == "argument":
        return f"argument {option.name}"
    return " ".join(sorted((*option.opts, *option.secondary_opts)))


def default_of(option: Any) -> Any:
    """Return the default's words where there are some: the value may be found when it is used."""
    if isinstance(option.show_default, str):
        return option.show_default
    default = None if option.default in (None, (), []) else option.default
    return None if default is None else str(default)


@pytest.mark.parametrize("name", list(json.loads(RECORD.read_text())) if RECORD.exists() else [])
def test_every_option_keeps_its_name_and_default(name: str) -> None:
    recorded = json.loads(RECORD.read_text())[name]
    found = all_commands()[name]
    assert {option: found.get(option, "gone") for option in recorded} == {
        option: None if default is None else str(default) for option, default in recorded.items()
    }


if __name__ == "__main__":
    RECORD.write_text(json.dumps(all_commands(), indent=1, ensure_ascii=False) + "\n")
