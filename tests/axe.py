"""axe-core, for tests alone: what it finds on a page, as its rules have it.

npm installs it (MPL-2.0) into the tests' cache at first use; it is no part of the package.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.whole import made_once

VERSION = "4.14.1"
SERIOUS = ("serious", "critical")  # of its impacts: minor, moderate, serious, critical


def axe_or_skip() -> str:
    """Return axe-core's script; where npm is missing or reaches no registry, skip and say so."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm, which installs axe-core; on Debian: apt-get install npm")
    cache = Path(os.environ.get("CURATE_TEST_CACHE") or Path.home() / ".cache" / "curate" / "tests")

    def install(folder: Path) -> None:
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        done = subprocess.run(
            [npm, "install", *quiet, f"axe-core@{VERSION}"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            pytest.skip(f"npm cannot install axe-core: {done.stderr.strip()[-300:]}")

    folder = made_once(cache / f"axe-core-{VERSION}", install)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def violations(page: Any, axe: str) -> list[str]:
    """Return each serious fault of a page that a browser shows: rule, place, what is wrong."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]
