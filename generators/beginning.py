"""How a generator is begun: what a family's `create` is handed, and its settings read from text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from generators.base import Generator, Prompt
from generators.errors import GeneratorError
from generators.sample import Sample

Settings = TypeVar("Settings")
SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Beginning:
    """What a family is begun from.

    `examples` are what it will learn, read as they are asked for: each with its prompt, condition
    images whole. `base` is the generator that it shall grow out of, where one was named.
    """

    examples: Iterable[tuple[Sample, Prompt]]
    seed: int = 0  # of the first weights
    base: Generator | None = None


def read_settings(kind: type[Settings], family: str, written: Mapping[str, str]) -> Settings:
    """Return a family's settings of what a user wrote, by name; the rest keep their defaults.

    Raises GeneratorError for a name that the family does not know, or a value that it cannot be.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, text in written.items():
        if name not in known:
            told = [f"{f.name} ({f.metadata['help'].rstrip('.')})" for f in known.values()]
            raise GeneratorError(
                f"Family {family!r} has no setting {name!r}. It has: {', '.join(told) or 'none'}."
            )
        try:
            values[name] = _value(hints[name], text.strip())
        except (KeyError, ValueError) as error:
            raise GeneratorError(
                f"Setting {name} of family {family!r} cannot be {text!r}. "
                f"{known[name].metadata['help']} Such as {known[name].default}."
            ) from error
    return kind(**values)


def _value(hint: Any, text: str) -> Any:
    """Return a text as its field's type: a number, a switch, several with commas between them."""
    if get_origin(hint) is UnionType:
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return None if text.casefold() in ("", "none") else _value(kinds[0], text)
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], part.strip()) for part in text.split(",") if part)
    return SWITCH[text.casefold()] if hint is bool else hint(text)
