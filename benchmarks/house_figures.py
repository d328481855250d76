"""The house in figures: its size, helpers with one caller, long functions, arrows that run up.

    python -m benchmarks.house_figures [FOLDER ...]

prints a table with one column a folder, each a checkout of this project; the present one without
any. Migrations are counted in files and lines only. Read with `ast`; nothing is imported.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

ROOMS = ("annotation", "curate", "db", "generators", "rewards")
LONG_FUNCTION = 50  # lines of its body, without the docstring
LONG_FILE = 500  # lines
MANY_PARAMETERS = 7
SAME_BODY = 4  # statements; shorter ones are alike by chance
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the product."""

    name: str  # dotted, and below its package: "curate.training.rl"
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed file."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Return all that it is made of, level by level."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """Return its functions and methods, inner ones too."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def names(self) -> Counter[str]:
        """Count the names that it mentions: variables, attributes, imported ones."""
        found: Counter[str] = Counter()
        for node in self.nodes:
            if isinstance(node, ast.Name):
                found[node.id] += 1
            elif isinstance(node, ast.Attribute):
                found[node.attr] += 1
            elif isinstance(node, ast.alias):
                found[node.name.rpartition(".")[2]] += 1
        return found

    @property
    def room(self) -> str:
        """Return the folder it is in; a loose file of `curate/` is a room of its own."""
        folder = self.name.rpartition(".")[0]
        return self.name if folder in ("", "curate") and self.name != "curate" else folder


@dataclass(frozen=True)
class House:
    """A checkout, read whole."""

    modules: list[Module]  # without migrations
    num_files: int
    num_lines: int
    tested: frozenset[str]  # names that a test imports or asks a module for

    @cached_property
    def functions(self) -> list[tuple[Module, Function]]:
        """Return every function with its file."""
        return [(module, function) for module in self.modules for function in module.functions]

    @cached_property
    def one_caller(self) -> list[str]:
        """Return private functions that their file names once and no test asks for by name."""
        return [
            f"{module.path}:{function.lineno} {function.name}"
            for module, function in self.functions
            if _is_private(function.name)
            and module.names[function.name] == 1
            and function.name not in self.tested
        ]

    @cached_property
    def unnamed_elsewhere(self) -> list[str]:
        """Return public functions of a module's top level that no other file names."""
        totals = sum((module.names for module in self.modules), Counter[str]())
        return [
            f"{module.path}:{node.lineno} {node.name}"
            for module in self.modules
            for node in module.tree.body
            if isinstance(node, Function)
            and not node.name.startswith("_")
            and totals[node.name] == module.names[node.name]
        ]

    @cached_property
    def long_functions(self) -> list[str]:
        """Return functions past LONG_FUNCTION lines."""
        return [
            f"{module.path}:{function.lineno} {function.name}: {lines}"
            for module, function in self.functions
            if (lines := body_lines(function)) > LONG_FUNCTION
        ]

    @cached_property
    def long_files(self) -> list[str]:
        """Return files past LONG_FILE lines."""
        return [
            f"{module.path}: {lines}"
            for module in self.modules
            if (lines := module.text.count("\n")) > LONG_FILE
        ]

    @cached_property
    def many_parameters(self) -> list[str]:
        """Return functions with more than MANY_PARAMETERS, `self` not counted."""
        return [
            f"{module.path}:{function.lineno} {function.name}: {count}"
            for module, function in self.functions
            if (count := _num_parameters(function.args)) > MANY_PARAMETERS
        ]

    @cached_property
    def classes_twice(self) -> list[str]:
        """Return public class names that stand in more than one place."""
        places = Counter(
            node.name
            for module in self.modules
            for node in module.nodes
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        )
        return sorted(name for name, count in places.items() if count > 1)

    @cached_property
    def same_bodies(self) -> list[str]:
        """Return pairs of functions with equal bodies of SAME_BODY statements or more."""
        first: dict[str, str] = {}
        pairs = []
        for module, function in self.functions:
            body = _without_docstring(function)
            if sum(isinstance(node, ast.stmt) for node in _walk_all(body)) < SAME_BODY:
                continue
            place = f"{module.path}:{function.lineno} {function.name}"
            other = first.setdefault("\n".join(ast.dump(node) for node in body), place)
            if other != place:
                pairs.append(f"{other} = {place}")
        return pairs

    @cached_property
    def arrows(self) -> Counter[tuple[str, str]]:
        """Count the imports, late ones too, from one room into another.

        A folder and its own subfolder are not two floors: what goes between them is no arrow.
        """
        rooms = {module.name: module.room for module in self.modules}
        return Counter(
            (module.room, rooms[imported])
            for module in self.modules
            for imported in _imported(module.nodes)
            if imported in rooms and not _is_within(module.room, rooms[imported])
        )

    @cached_property
    def circles(self) -> list[list[str]]:
        """Return sets of rooms each of which is reached from each other."""
        return _circles(self.arrows)

    @cached_property
    def arrows_up(self) -> list[str]:
        """Return the thinnest arrows without which no circle is left."""
        left, up = dict(self.arrows), []
        while circles := _circles(left):
            inside = [(a, b) for a, b in left if any(a in c and b in c for c in circles)]
            thinnest = min(inside, key=lambda arrow: (left[arrow], arrow))
            up.append(" -> ".join(thinnest))
            del left[thinnest]
        return up

    def table(self) -> dict[str, str]:
        """Return the figures by what they say."""
        num = len(self.functions)
        return {
            "files": f"{self.num_files:,}",
            "lines": f"{self.num_lines:,}",
            "functions": f"{num:,}",
            "one-caller helpers": f"{len(self.one_caller)} ({len(self.one_caller) / num:.1%})",
            "public functions that no other file names": str(len(self.unnamed_elsewhere)),
            f"functions > {LONG_FUNCTION} lines": str(len(self.long_functions)),
            f"files > {LONG_FILE} lines": str(len(self.long_files)),
            f"functions with > {MANY_PARAMETERS} parameters": str(len(self.many_parameters)),
            "public class names in two places": str(len(self.classes_twice)),
            "pairs of equal functions": str(len(self.same_bodies)),
            "rooms": str(len({module.room for module in self.modules})),
            "arrows between rooms": str(len(self.arrows)),
            "arrows that run up": str(len(self.arrows_up)),
            "circles of rooms": str(len(self.circles)),
        }


def read_house(root: Path) -> House:
    """Read a checkout's product code, and which private names its tests ask for."""
    paths = [root / "cli.py", *chain(*(sorted((root / room).rglob("*.py")) for room in ROOMS))]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    modules = [
        Module(_dotted(path.relative_to(root)), path.relative_to(root), text)
        for path, text in texts.items()
        if "migrations" not in path.parts
    ]
    tests = [
        Module("", path, path.read_text(encoding="utf-8"))
        for path in sorted((root / "tests").rglob("*.py"))
    ]
    asked = {name for test in tests for name in test.names if name.startswith("_")}
    lines = sum(text.count("\n") for text in texts.values())
    return House(modules, len(paths), lines, frozenset(asked))


def body_lines(function: Function) -> int:
    """Return how many lines a function's body has, without its docstring."""
    body = _without_docstring(function)
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _without_docstring(function: Function) -> list[ast.stmt]:
    return function.body[ast.get_docstring(function) is not None :]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_within(one: str, other: str) -> bool:
    """Return whether one room is the other, or lies in it, either way."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _num_parameters(arguments: ast.arguments) -> int:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in every)


def _walk_all(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    return chain.from_iterable(ast.walk(node) for node in nodes)


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imported(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module  # `from curate import errors` names a package and its module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _circles(arrows: Mapping[tuple[str, str], int]) -> list[list[str]]:
    reached: dict[str, set[str]] = {}
    for a, b in arrows:
        reached.setdefault(a, set()).add(b)
        reached.setdefault(b, set())
    for through in reached:  # Warshall's closure
        for rooms in reached.values():
            if through in rooms:
                rooms |= reached[through]
    together = {
        frozenset(b for b in reached[a] if a in reached[b]) for a in reached if a in reached[a]
    }
    return sorted(sorted(rooms) for rooms in together)


def main() -> None:
    """Print the table in Markdown."""
    folders = [Path(word) for word in sys.argv[1:]] or [Path(__file__).parents[1]]
    columns = [read_house(folder).table() for folder in folders]
    print("| | " + " | ".join(folder.resolve().name for folder in folders) + " |")
    print("|---|" + "---|" * len(columns))
    for figure in columns[0]:
        print(f"| {figure} | " + " | ".join(column[figure] for column in columns) + " |")


if __name__ == "__main__":
    main()
