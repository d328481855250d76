"""The command line of before: no option loses its name or its default.

`python tests/test_options.py` writes the record anew, after a change that is meant.
"""

import ast
import dataclasses
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import cli

ROOT = Path(__file__).parent.parent
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


def written_by_hand(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the names of the options that a file of commands declares itself."""
    for call in ast.walk(module):
        if isinstance(call, ast.arg) and call.annotation is not None:
            for option in ast.walk(call.annotation):
                if isinstance(option, ast.Call) and ast.unparse(option.func) == "typer.Option":
                    names = [arg.value for arg in option.args if isinstance(arg, ast.Constant)]
                    for name in names or [call.arg]:
                        yield str(name).lstrip("-").replace("-", "_"), call.lineno


def fields_of_configs(module: ast.Module) -> set[str]:
    """Return the fields, and their options' names, of the settings that the file imports."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".config"):
            for alias in node.names:
                config = getattr(importlib.import_module(str(node.module)), alias.name)
                for field in dataclasses.fields(config) if isinstance(config, type) else ():
                    option = str(field.metadata.get("option") or field.name)
                    found |= {field.name, option.lstrip("-").replace("-", "_")}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "curate/commands").glob("*.py")), ids=str)
def test_what_is_a_setting_is_no_option_by_hand(path: Path) -> None:
    module = ast.parse(path.read_text())
    settings = fields_of_configs(module)
    twice = [f"{path.name}:{line} {name}" for name, line in written_by_hand(module)]
    assert [option for option in twice if option.split()[1] in settings] == []


def test_an_option_by_hand_for_a_setting_is_found() -> None:
    module = ast.parse(
        "from rewards.config import RewardConfig\n"
        "def f(min_ratings: Annotated[int, typer.Option(help='Fewest.')] = 40): ..."
    )
    assert dict(written_by_hand(module)).keys() & fields_of_configs(module) == {"min_ratings"}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(all_commands(), indent=1, ensure_ascii=False) + "\n")
