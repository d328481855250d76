"""A patient's record as a text and back: what each field says, its units, what means "unknown".

A field map is a TOML file. `clean` brings a table's row to values, `build` says them as clauses,
`parse` reads them again: `parse(build(clean(row))) == clean(row)`. A value that is not known is
left out, or said to be unknown; it never becomes a "no".
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from generators.errors import GeneratorError

Value = str | int | float
Record = dict[str, Value]
STYLES = ("omit", "no information")
KINDS = ("text", "number", "choice")
NO_INFORMATION = "no information"
EXAMPLE = Path(__file__).parent / "dgm.toml"  # the fields of DGM-VLC
NOT_KNOWN = ("", "nan", "none", "null", "n/a", "na", "not available", "unknown")
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
QUOTED = r'"(?:[^"\\]|\\.)*"'  # as JSON writes a text
PLAIN = r"[^\W_](?:[\w /+-]*\w)?"  # words: whatever else a text holds, it is quoted
HOLE = "{value}"


@dataclass(frozen=True)
class Field:
    """One column of the table.

    A choice has a clause a value; the others have one `clause` with the place of their value in it.
    """

    name: str
    kind: str
    clause: str = ""
    values: Mapping[str, str] = field(default_factory=dict)  # of a choice: value -> its clause
    spellings: Mapping[str, str] = field(default_factory=dict)  # as tables write it -> value
    unit: str = ""
    missing: tuple[Value, ...] = ()  # what stands for "unknown" in this column
    magnitude: bool = False  # the sign is a way of counting: -30 days are 30 days
    range: tuple[float, float] | None = None  # of a number, in its unit
    order: tuple[str, ...] = ()  # of a choice, from the least to the most

    def clean(self, cell: Any) -> Value | None:
        """Return the value that a cell means, or None where it means that nothing is known.

        Raises GeneratorError for what the field cannot be: a wrong unit, an unknown value.
        """
        text = str(cell).strip() if self.kind != "text" else str(cell)
        if cell is None or text.strip().casefold() in NOT_KNOWN or self._is_missing(text):
            return None
        if self.kind == "text":
            return text
        if self.kind == "choice":
            value = self.spellings.get(text, text)
            if value not in self.values:
                known = ", ".join((*self.values, *self.spellings))
                raise GeneratorError(f"{self.name} is {text!r}; known: {known}.")
            return value
        if not re.fullmatch(NUMBER, text):
            raise GeneratorError(f"{self.name} is {text!r}, which is not a number{self._in_unit}.")
        number = abs(float(text)) if self.magnitude else float(text)
        if self.range is not None and not self.range[0] <= number <= self.range[1]:
            low, high = self.range
            raise GeneratorError(
                f"{self.name} is {text}, outside {low:g} to {high:g}{self._in_unit}. Is it in "
                "another unit?"
            )
        return int(number) if number.is_integer() else number

    def say(self, value: Value) -> str:
        """Return the clause of a value that `clean` returned."""
        if self.kind == "choice":
            return self.values[str(value)]
        if self.kind == "number":
            return self.clause.replace(HOLE, repr(value))
        is_plain = re.fullmatch(PLAIN, str(value)) and str(value).casefold() != NO_INFORMATION
        written = str(value) if is_plain else json.dumps(value, ensure_ascii=False)
        return self.clause.replace(HOLE, written)

    def hear(self, clause: str) -> Value | None:
        """Return the value that a clause says; None where it is not a clause of this field."""
        if self.kind == "choice":
            return next((value for value, said in self.values.items() if said == clause), None)
        found = self._pattern.fullmatch(clause)
        if found is None:
            return None
        if self.kind == "text":
            return str(json.loads(found[1])) if found[1].startswith('"') else found[1]
        number = float(found[1])
        return int(number) if number.is_integer() else number

    @property
    def says_nothing(self) -> str:
        """Return the clause of an unknown value."""
        return f"{self.plain_name}: {NO_INFORMATION}"

    @property
    def plain_name(self) -> str:
        """Return the name without what a clause cannot hold."""
        return " ".join(re.sub(r'[,"_]', " ", self.name).split())

    @property
    def _in_unit(self) -> str:
        return f" in {self.unit}" if self.unit else ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        before, _, after = self.clause.partition(HOLE)
        value = NUMBER if self.kind == "number" else f"{QUOTED}|{PLAIN}"
        return re.compile(f"{re.escape(before)}({value}){re.escape(after)}")

    def _is_missing(self, text: str) -> bool:
        """Compare as numbers where both are: a spreadsheet writes 99999 as 99999.0."""
        for one in map(str, self.missing):
            both = re.fullmatch(NUMBER, one) and re.fullmatch(NUMBER, text)
            if (float(one) == float(text)) if both else one.casefold() == text.casefold():
                return True
        return False


@dataclass(frozen=True)
class FieldMap:
    """All fields of a table, in the order in which a text says them."""

    fields: tuple[Field, ...]
    opening: str = "Record"
    style: str = "omit"  # of unknown values: left out, or "no information"

    def __post_init__(self) -> None:
        """Refuse a map whose texts could not be read back."""
        if self.style not in STYLES:
            raise GeneratorError(f"Style {self.style!r}; known: {', '.join(STYLES)}.")
        clauses: dict[str, str] = {}
        for one in self.fields:
            if one.kind not in KINDS or (one.kind == "choice") != bool(one.values):
                raise GeneratorError(
                    f"Field {one.name!r} is {one.kind!r}: text, number, or a choice with values."
                )
            if one.kind != "choice" and one.clause.count(HOLE) != 1:
                raise GeneratorError(f"The clause of {one.name!r} needs {HOLE} once.")
            if stray := set(one.order) - set(one.values):
                raise GeneratorError(f"The order of {one.name!r} has no value {min(stray)!r}.")
            examples = one.values.values() or [one.say(1 if one.kind == "number" else "word")]
            for clause in (*examples, one.says_nothing):
                if re.search(r',|"|\s\s|\.$|^\s|\s$', clause):
                    raise GeneratorError(f"Clause {clause!r}: no comma, quote or space too many.")
                if clauses.setdefault(clause, one.name) != one.name:
                    raise GeneratorError(f"{clauses[clause]!r} and {one.name!r} say {clause!r}.")
        for clause, name in clauses.items():
            heard = [one.name for one in self.fields if one.hear(clause) is not None]
            if heard not in ([], [name]):
                raise GeneratorError(f"{clause!r} could be said by {' or '.join(heard)}.")

    def __getitem__(self, name: str) -> Field:
        """Return a field; GeneratorError names those that there are."""
        for one in self.fields:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.fields)
        raise GeneratorError(f"No field {name!r}. Known: {known}.")

    def clean(self, row: Mapping[str, Any]) -> Record:
        """Return what a table's row says, without what is unknown; refuse fields not in the map."""
        cleaned = {name: self[name].clean(cell) for name, cell in row.items()}
        known = {name: value for name, value in cleaned.items() if value is not None}
        return {one.name: known[one.name] for one in self.fields if one.name in known}

    def clauses(self, record: Mapping[str, Value]) -> list[str]:
        """Return a clause a field, in the map's order."""
        told = [(one, record.get(one.name)) for one in self.fields]
        if self.style == "omit":
            return [one.say(value) for one, value in told if value is not None]
        return [one.says_nothing if value is None else one.say(value) for one, value in told]

    def build(self, record: Mapping[str, Value]) -> str:
        """Return a cleaned record as a text."""
        clauses = self.clauses(record)
        return f"{self.opening}: {', '.join(clauses)}." if clauses else f"{self.opening}."

    def parse(self, text: str) -> Record:
        """Return the record that `build` wrote; GeneratorError for another text."""
        record: Record = {}
        said = text.removeprefix(self.opening).removeprefix(":").removesuffix(".").strip(" ")
        segments = re.findall(rf"(?:{QUOTED}|[^,\"])+", said)
        for segment in (one.removeprefix(" ") for one in segments):
            for one in self.fields:
                value = one.hear(segment)
                if value is not None:
                    record[one.name] = value
                if value is not None or segment == one.says_nothing:
                    break
            else:
                raise GeneratorError(f"No field says {segment!r}.")
        return record

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as a version keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FieldMap":
        """Return the map of plain values; GeneratorError for a key that no map has."""
        try:
            fields = []
            for one in values.get("fields", ()):
                said: dict[str, Any] = {}
                for name, value in one.items():
                    said[name] = tuple(value) if isinstance(value, list) else value
                fields.append(Field(**said))
            return cls(**{**values, "fields": tuple(fields)})
        except TypeError as error:
            raise GeneratorError(f"Not a field map: {error}.") from error


def read_field_map(path: Path) -> FieldMap:
    """Read a TOML file: `opening`, `style` and a table `[[fields]]` a column."""
    try:
        return FieldMap.from_json(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GeneratorError(f"{path} is not a readable TOML file: {error}.") from error
    except GeneratorError as error:
        raise GeneratorError(f"{path}: {error}") from error
