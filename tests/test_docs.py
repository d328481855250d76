"""The pages are true: every command is explained, every block of the README runs.

A ```bash block of the README is run, all of them in order in one temporary folder, unless a line
`<!-- not run: reason -->` stands right above it.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

import cli
from benchmarks.commands_page import PAGE, page

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+-->\n)?```bash\n(?P<code>.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def commands() -> list[tuple[str, Any]]:
    """Return ("rate simulate", command) for every command."""

    def walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            full = f"{path} {name}".strip()
            if hasattr(command, "commands"):
                yield from walk(command, full)
            else:
                yield full, command

    return list(walk(typer.main.get_command(cli.app), ""))


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_says_what_it_does_with_an_example(name: str, command: Any) -> None:
    assert f"Example: curate {name}" in command.help
    assert command.help.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_option_says_what_it_is_for(name: str, command: Any) -> None:
    silent = [option.name for option in command.params if not (option.help or "").strip()]
    assert silent == []


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_stands_in_the_readme(name: str) -> None:
    assert f"curate {name}" in README


PRINTED = re.compile(r"^(?: {4}|\$ )(curate .*)$|`(curate [^`]+)`", re.MULTILINE)
CARDS = sorted((ROOT / "curate").rglob("card.md"))


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: page.name)
def test_every_command_that_a_page_prints_can_be_given(page: Path) -> None:
    """The command line reads it: no unknown command, option or value. Placeholders are words."""
    wrong = []
    for found in PRINTED.finditer(page.read_text()):
        command: Any = typer.main.get_command(cli.app)
        words = shlex.split((found[1] or found[2]).replace("\n", " "), comments=True)[1:]
        try:
            while words and hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            if words:  # one without is named, not given
                command.make_context("curate", words)
        except KeyError as unknown:
            wrong.append(f"{found[0].strip()}: no command {unknown}")
        except (typer.TyperException, SystemExit) as error:
            if not str(error).startswith(("Missing parameter", "Option '")):  # named, not given
                wrong.append(f"{found[0].strip()}: {error}")
    assert wrong == []


def test_the_reference_of_commands_is_current() -> None:
    """If not: `python -m benchmarks.commands_page`."""
    assert PAGE.read_text() == page()


def test_the_two_commands_stand_in_the_first_screen_of_the_readme() -> None:
    first_screen = "\n".join(README.splitlines()[:40])
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_every_link_between_the_pages_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.slow
def test_every_block_of_the_readme_runs(tmp_path: Path) -> None:
    """`data.csv` with its images and `prompts.csv` are there, as a reader has them."""
    blocks = [block["code"] for block in BLOCK.finditer(README) if not block["mark"]]
    assert len(BLOCK.findall(README)) == README.count("```bash")
    make_readers_files(tmp_path)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def make_readers_files(folder: Path) -> None:
    rows = ["path,Text,modality"]
    for index in range(4):
        Image.effect_noise((64, 64), 50 + index).save(folder / f"{index}.png")
        rows.append(f'{index}.png,"Drusen, eye {index}.",OCT')
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    (folder / "prompts.csv").write_text("modality,text\nOCT,drusen\nCXR,normal\n")


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which `curate` is this checkout's, installed or not."""
    script = folder / "bin" / "curate"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n')
    script.chmod(0o755)
    return os.environ | {
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
