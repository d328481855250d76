"""A setting is declared once, as a field of a frozen dataclass; here it becomes an option.

A command names the dataclasses that it needs, and is handed them built and checked:

    @takes_settings
    def generate(options: GenerateOptions, as_json: Json = False) -> None: ...

What a field's metadata says:

    help     the words of `--help`; a field without them is not an option
    option   its name on the command line where it is not the field's: "--steps", "--real/--no-real"
    shown    its default in words, where the value says nothing
    choices  the values there are; of a list also a function that finds them when one is given
    min, max the least and the largest number
    parse    text from the command line -> the value, for what is no plain type
    panel    the part of `--help` that it and the fields after it stand in
    options  of a field that is a dataclass itself: True for all its options, or their fields' names
"""

import dataclasses
import difflib
import functools
import inspect
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

Config = TypeVar("Config")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


# what a shell completes an option's value with, by the option's name
IDS = {
    "--version": "version",
    "--reward-model": "reward model",
    "--campaign": "campaign",
    "--calibration": "campaign",
    "--run": "run",
}


def ids_of(kind: str) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """Return what tells a shell the ids or names of this kind in the workspace at hand."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        from curate.completion import known  # here: --help stays instant

        named = ctx.params.get("workspace") or os.environ.get("CURATE_WORKSPACE") or "."
        return known(kind, Path(named), incomplete)

    return complete


@dataclass(frozen=True)
class Only:
    """Beside a dataclass in `Annotated`: the fields that a command has options for."""

    fields: tuple[str, ...]

    def __init__(self, *fields: str) -> None:
        """Name the fields."""
        object.__setattr__(self, "fields", fields)


@dataclass(frozen=True)
class Given(Generic[Config]):
    """The settings that a user named, without those left at their defaults."""

    values: Mapping[str, Any]

    def over(self, base: Config) -> Config:
        """Return `base` with these settings in place of its own."""
        replaced: Config = _replaced(base, self.values)
        return replaced


@dataclass(frozen=True)
class Setting:
    """One field as an option: `path` leads to it from the command's parameter."""

    path: tuple[str, ...]
    field: Field[Any]
    hint: Any
    panel: str | None

    @property
    def name(self) -> str:
        """Return the parameter's name, which no other option of the command has."""
        return "_".join(self.path)

    @property
    def option(self) -> str:
        """Return its name on the command line."""
        return str(self.field.metadata.get("option") or f"--{self.field.name.replace('_', '-')}")

    def parameter(self) -> inspect.Parameter:
        """Return it as typer reads a parameter."""
        says = self.field.metadata
        default = None if self.field.default in (None, ()) else self.field.default
        one_of = self.field.metadata.get("choices")
        option = typer.Option(
            self.option,
            help=says["help"],
            show_default=says.get("shown", default is not None),
            min=says.get("min"),
            max=says.get("max"),
            rich_help_panel=self.panel,
            metavar=f"[{'|'.join(one_of)}]"
            if isinstance(one_of, tuple) and get_origin(self.hint) is tuple
            else None,
            autocompletion=ids_of(IDS[self.option]) if self.option in IDS else None,
        )
        return inspect.Parameter(
            self.name,
            _KEYWORD,
            default=inspect.Parameter.empty if default is MISSING else default,
            annotation=Annotated[self._type(), option],
        )

    def _type(self) -> Any:
        """Return its type in typer's words: one of several values, a list for a tuple."""
        if "parse" in self.field.metadata:
            return str if isinstance(self.field.default, str) else str | None
        if get_origin(self.hint) is tuple:
            return list[get_args(self.hint)[0]] | None  # type: ignore[misc]
        one_of = self.field.metadata.get("choices")
        if one_of is None:
            return self.hint
        return Literal[one_of] | None if type(None) in get_args(self.hint) else Literal[one_of]

    def value(self, given: Any) -> Any:
        """Return what the field holds for what typer read."""
        if given is not None and "parse" in self.field.metadata:
            return self.field.metadata["parse"](given)
        if get_origin(self.hint) is not tuple:
            return given
        one_of = self.field.metadata.get("choices")  # typer has no list of several values
        if callable(one_of) and given:
            one_of = one_of()
        for value in given or ():
            if one_of and value not in one_of:
                known = ", ".join(one_of)
                raise typer.BadParameter(
                    f"{value!r} is not one of {known}.", param_hint=self.option
                )
        return tuple(given or ())


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting of its parameters that are dataclasses."""
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    settings = {name: list(settings_of(hints[name], name)) for name in signature.parameters}

    @functools.wraps(command)
    def run(context: typer.Context, **given: Any) -> None:
        given.pop(FROM_FILE.name)
        for name, of_config in settings.items():
            if of_config:
                values = {setting.name: given.pop(setting.name) for setting in of_config}
                given[name] = _built(hints[name], of_config, values, context)
        command(**given)

    parameters = [
        parameter
        for name, own in signature.parameters.items()
        for parameter in [setting.parameter() for setting in settings[name]]
        or [own.replace(kind=_KEYWORD, annotation=hints[name])]
    ]
    del run.__wrapped__  # typer would read the command's own signature
    context = inspect.Parameter("context", _KEYWORD, annotation=typer.Context)
    taken = [context, *parameters, FROM_FILE]
    run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    run.__annotations__ = {own.name: own.annotation for own in taken}
    return run


def settings_of(hint: Any, *path: str) -> Iterator[Setting]:
    """Yield the options of a parameter by its type: none where it holds no dataclass."""
    config, only = _config_of(hint)
    if config is None:
        return
    hints = get_type_hints(config)
    panel = None
    for field in dataclasses.fields(config):
        panel = field.metadata.get("panel", panel)
        inner = field.metadata.get("options")
        if inner:
            kept = None if inner is True else inner
            yield from settings_of(
                Annotated[hints[field.name], Only(*kept)] if kept else hints[field.name],
                *path,
                field.name,
            )
        elif "help" in field.metadata and (only is None or field.name in only):
            yield Setting((*path, field.name), field, hints[field.name], panel)


def _config_of(hint: Any) -> tuple[type | None, tuple[str, ...] | None]:
    only = None
    if get_origin(hint) is Annotated:
        hint, *beside = get_args(hint)
        only = next((mark.fields for mark in beside if isinstance(mark, Only)), None)
    if get_origin(hint) is Given:
        (hint,) = get_args(hint)
    return (hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None), only


def _built(
    hint: Any, settings: list[Setting], values: Mapping[str, Any], context: typer.Context
) -> Any:
    """Return the dataclass, or what was given of it, for the values that typer read."""
    config, _ = _config_of(hint)
    assert config is not None  # it has settings
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    wants_given = get_origin(plain) is Given
    tree: dict[str, Any] = {}
    for setting in settings:
        if wants_given and not _is_named(context, setting.name):
            continue
        branch = tree
        for name in setting.path[1:-1]:
            branch = branch.setdefault(name, {})
        branch[setting.path[-1]] = setting.value(values[setting.name])
    return Given(tree) if wants_given else _made(config, tree)


def _is_named(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")


def _read_options(context: typer.Context, file: Path | None) -> Path | None:
    """Let a TOML file's options stand where the command line names none.

    Names are those of the options without their dashes; a section belongs to the command of its
    name. Raises BadParameter for what the command does not have.
    """
    if file is None:
        return None
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file} cannot be read as TOML: {error}") from error
    own = found.pop(context.info_name or "", {})
    values = {name: value for name, value in found.items() if not isinstance(value, dict)} | own
    known: dict[str, tuple[str, bool]] = {}
    for option in context.command.params:
        if option.param_type_name == "option" and option.name:
            known |= {spelled.lstrip("-"): (option.name, False) for spelled in option.opts}
            known |= {spelled.lstrip("-"): (option.name, True) for spelled in option.secondary_opts}
    named: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise typer.BadParameter(f"{file}: `{context.info_name}` has no option {name}{meant}")
        parameter, is_opposite = known[name]
        plain = value if isinstance(value, bool | list) else str(value)
        named[parameter] = (not value) if is_opposite else plain
    context.default_map = {**(context.default_map or {}), **named}
    return file


FROM_FILE = inspect.Parameter(
    "options_file",
    _KEYWORD,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--options",
            metavar="FILE",
            help="TOML file of options, such as steps = 200; the command line takes precedence.",
            show_default=False,
            is_eager=True,
            callback=_read_options,
        ),
    ],
)


def _made(config: type, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(config)
    return config(
        **{
            name: _made(hints[name], value) if isinstance(value, dict) else value
            for name, value in values.items()
        }
    )


def _replaced(base: Any, values: Mapping[str, Any]) -> Any:
    changes = {
        name: _replaced(getattr(base, name), value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return dataclasses.replace(base, **changes)
