"""A dataclass's fields as a command's options: names, defaults, types, help."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from curate.settings import Given, Only, takes_settings


@dataclass(frozen=True)
class Inner:
    speed: float = field(default=1.5, metadata={"help": "Metres a second.", "option": "--pace"})
    hidden: int = 7
    seed: int = field(default=0, metadata={"help": "Random seed."})


@dataclass(frozen=True, kw_only=True)
class Walk:
    steps: int = field(default=20, metadata={"help": "Steps.", "min": 1, "panel": "How far"})
    shoes: str = field(
        default="boots", metadata={"help": "What to wear.", "choices": ("boots", "clogs")}
    )
    friends: tuple[str, ...] = field(default=(), metadata={"help": "Who comes too."})
    back: bool = field(default=True, metadata={"help": "Walk back.", "option": "--back/--no-back"})
    place: tuple[int, int] | None = field(
        default=None,
        metadata={"help": "Where.", "parse": lambda text: tuple(map(int, text.split(",")))},
    )
    limit: int | None = field(default=None, metadata={"help": "Most steps.", "shown": "no limit"})
    inner: Inner = field(default_factory=Inner, metadata={"options": True})


def run(command: Callable[..., None], *arguments: str) -> Any:
    app = typer.Typer()
    app.command()(takes_settings(command))
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "TERM": "dumb"})


@pytest.fixture
def taken() -> list[Any]:
    return []


def test_a_command_is_handed_the_settings_it_names(taken: list[Any]) -> None:
    def walk(config: Walk, loud: bool = False) -> None:
        taken.append((config, loud))

    run(walk, "--steps", "3", "--friends", "a", "--friends", "b", "--no-back", "--pace", "2")
    assert taken == [(Walk(steps=3, friends=("a", "b"), back=False, inner=Inner(2.0)), False)]


def test_left_alone_every_setting_is_its_field_s_default(taken: list[Any]) -> None:
    def walk(config: Walk) -> None:
        taken.append(config)

    assert run(walk).exit_code == 0
    assert taken == [Walk()]


def test_a_value_in_words_is_parsed(taken: list[Any]) -> None:
    def walk(config: Walk) -> None:
        taken.append(config.place)

    run(walk, "--place", "3,4")
    assert taken == [(3, 4)]


@pytest.mark.parametrize("wrong", [("--steps", "0"), ("--shoes", "socks"), ("--steps", "x")])
def test_what_cannot_be_is_refused(taken: list[Any], wrong: tuple[str, str]) -> None:
    def walk(config: Walk) -> None:
        taken.append(config)

    assert run(walk, *wrong).exit_code == 2
    assert taken == []


def test_help_says_what_the_fields_say() -> None:
    def walk(config: Walk) -> None:
        """Take a walk."""

    shown = run(walk, "--help").output
    for words in ("How far", "Metres a second.", "[default: boots]", "boots|clogs", "no limit"):
        assert words in shown
    assert "hidden" not in shown


def test_only_some_fields_of_a_dataclass(taken: list[Any]) -> None:
    def walk(config: Annotated[Inner, Only("seed")]) -> None:
        taken.append(config)

    run(walk, "--seed", "4")
    assert taken == [Inner(seed=4)]
    assert run(walk, "--pace", "2").exit_code == 2


def test_what_a_user_named_goes_over_what_was_there(taken: list[Any]) -> None:
    def walk(given: Given[Walk]) -> None:
        taken.append(given.over(Walk(steps=9, shoes="clogs", inner=Inner(hidden=1, seed=5))))

    run(walk, "--shoes", "boots", "--pace", "1.5")
    assert taken == [Walk(steps=9, shoes="boots", inner=Inner(speed=1.5, hidden=1, seed=5))]


def test_a_file_s_options_stand_where_the_command_line_names_none(
    taken: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "options.toml"
    file.write_text(
        'steps = 7\nfriends = ["a", "b"]\nno-back = true\nplace = "1,2"\nseed = 5\n'
        '[walk]\nshoes = "clogs"\n[run]\nshoes = "none"\n'
    )

    def walk(config: Walk) -> None:
        taken.append(config)

    result = run(walk, "--options", str(file), "--steps", "9")
    assert result.exit_code == 0, result.output
    expected = Walk(
        steps=9, friends=("a", "b"), back=False, place=(1, 2), shoes="clogs", inner=Inner(seed=5)
    )
    assert taken == [expected]


def test_what_a_file_names_is_given_as_if_it_had_been_typed(
    taken: list[Any], tmp_path: Path
) -> None:
    def walk(named: Given[Walk]) -> None:
        taken.append(dict(named.values))

    (tmp_path / "options.toml").write_text("steps = 7\n")
    assert run(walk, "--options", str(tmp_path / "options.toml")).exit_code == 0
    assert taken == [{"steps": 7}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 7", "has no option stepz; did you mean steps?"),
        ("steps = ", "cannot be read as TOML"),
        ("steps = 0", "--steps"),
        ('shoes = "socks"', "socks"),
    ],
)
def test_a_file_with_what_the_command_does_not_take_is_refused(
    taken: list[Any], tmp_path: Path, text: str, said: str
) -> None:
    def walk(config: Walk) -> None:
        taken.append(config)

    (tmp_path / "options.toml").write_text(text)
    result = run(walk, "--options", str(tmp_path / "options.toml"))
    assert result.exit_code == 2 and taken == []
    assert said in " ".join(result.output.replace("│", " ").split())
