"""What is installed is ours alone, declared, small enough, and names no machine."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("annotation", "cli", "curate", "db", "generators", "rewards")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAX_WEIGHTS_MIB = 40
# import name -> distribution, where they differ
DISTRIBUTIONS = {
    "PIL": "pillow",
    "c2pa": "c2pa-python",
    "faiss": "faiss-cpu",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
ONLY_FOR_TYPES = {"_typeshed"}
ELSEWHERE = ROOT / "annotation" / "label_studio" / "inside"  # Label Studio's Python runs it
# Declared but imported by nobody here: what they are for stands in docs/dependencies.md.
NOT_IMPORTED = {"label-studio-sdk", "psycopg", "s3fs"}


def names_in(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", text)[0].lower().replace("_", "-") for text in requirements}


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: no list of tracked files")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_claims_one_of_our_names(name: str) -> None:
    """Pip lets the last one installed overwrite the other without a word."""
    others = set(packages_distributions().get(name, [])) - {"curate-images"}
    assert others == set()
    assert name not in sys.stdlib_module_names


def test_every_outside_import_is_a_declared_dependency() -> None:
    extras = PROJECT["optional-dependencies"]
    for_users = [extra for name, extra in extras.items() if name not in ("dev", "test")]
    declared = names_in(PROJECT["dependencies"]).union(*map(names_in, for_users))
    paths = [ROOT / "cli.py"] + [path for room in OURS for path in (ROOT / room).rglob("*.py")]
    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        if ELSEWHERE not in path.parents
        for name in imported_by(path)
        if name not in sys.stdlib_module_names
        and name not in (*OURS, *ONLY_FOR_TYPES)
        and DISTRIBUTIONS.get(name, name).lower().replace("_", "-") not in declared
    }
    assert undeclared == set()


def test_every_dependency_is_imported_or_said_to_be_needed_otherwise() -> None:
    paths = [ROOT / "cli.py"] + [path for room in OURS for path in (ROOT / room).rglob("*.py")]
    imported = {
        DISTRIBUTIONS.get(name, name).lower().replace("_", "-")
        for path in paths
        for name in imported_by(path)
    }
    assert names_in(PROJECT["dependencies"]) - imported - NOT_IMPORTED == set()


def imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_every_dependency_has_its_reason_and_licence_written_down() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text().lower()
    extras = PROJECT["optional-dependencies"].values()
    wanted = names_in(PROJECT["dependencies"]).union(*(names_in(extra) for extra in extras))
    assert {name for name in wanted - {"curate-images"} if f"| {name} |" not in page} == set()


def test_the_weights_that_ship_are_small_enough() -> None:
    weights = [
        path
        for path in tracked_files()
        if path.suffix == ".safetensors" or path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")
    ]
    assert {path.suffix for path in weights} <= {".safetensors"}, "no pickles"
    assert sum(path.stat().st_size for path in weights) <= MAX_WEIGHTS_MIB * 2**20


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    """A clone must work anywhere: no path of the machine it was made on, no package index."""
    slash = "/"  # kept apart, or this file would name them
    words = (
        f"{slash}work{slash}",
        f"{slash}root{slash}",
        f"{slash}home{slash}",
        "index" + "-url",
        "find" + "-links",
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "download.pytorch" + ".org",
    )
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked_files()
        if path.suffix not in (".safetensors", ".png")
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert found == []


def test_the_changelog_s_newest_release_is_this_version() -> None:
    from curate import __version__

    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert released[0] == __version__


def test_constraints_pin_and_give_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert [
        pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", pin)
    ] == []
    declared = names_in(PROJECT["dependencies"])
    assert declared - names_in(pins) == set()
