"""`.ci/run` with every program that it calls replaced by one that notes its arguments."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in {stuck}) exec sleep 60 ;; {failing}) exit 3 ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    return tmp_path


def run(
    checkout: Path, *, stuck: str = "no", failing: str = "no", minutes_past: float = 0
) -> tuple[int, list[str], list[str]]:
    """Return the exit status, what was called and the last lines, those after the last `==`."""
    for program in ("bin/make", "bin/chromium", "bin/npm", ".venv/bin/python"):
        file = checkout / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PROGRAM.format(stuck=stuck, failing=failing))
        file.chmod(0o755)
    done = subprocess.run(
        [checkout / ".ci" / "run"],
        env=os.environ
        | {
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(checkout / "calls.txt"),
            "SECONDS": str(round(minutes_past * 60)),  # bash counts on from there
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("== "))
    return done.returncode, (checkout / "calls.txt").read_text().splitlines(), lines[last:]


def test_ci_installs_before_all_else_and_says_how_long_each_step_took(checkout: Path) -> None:
    status, calls, said = run(checkout)
    assert status == 0
    assert calls[0] == "make .venv/installed-all"
    steps = ["lint", "wheel-check", "label-studio", "test", "test-apart", "test-avx2"]
    assert calls[1:7] == [f"make {step}" for step in steps]
    assert calls[7].startswith("python -m benchmarks.storm --kinds kill --kills 2")
    assert calls[8].startswith("python -m benchmarks.fuzz") and len(calls) == 9
    assert re.fullmatch(r"== how long the steps took, of \d+ minutes", said[0])
    names = [call.replace("python ", ".venv/bin/python ") for call in calls]
    assert [line.rpartition(": ")[0] for line in said[1:]] == names
    assert all(line.endswith(" s") for line in said[1:])


def test_a_step_ends_with_the_time_of_all_steps_and_not_with_its_own(checkout: Path) -> None:
    status, calls, said = run(checkout, stuck="lint", minutes_past=84.9)  # 6 seconds left of 85
    assert status == 124
    assert calls == ["make .venv/installed-all", "make lint"]
    assert said[-1].startswith("make lint: ")
    assert said[-1].endswith("stopped: 25 minutes for it, 0 left of 85 for all")


def test_without_time_left_a_step_does_not_begin(checkout: Path) -> None:
    (checkout / "calls.txt").touch()
    status, calls, said = run(checkout, minutes_past=86)
    assert (status, calls) == (124, [])
    assert re.match(r"make .venv/installed-all: \d+ s, stopped", said[-1])


def test_a_failed_step_ends_ci_and_is_named_last(checkout: Path) -> None:
    status, calls, said = run(checkout, failing="wheel-check")
    assert (status, calls[-1]) == (3, "make wheel-check")
    assert re.fullmatch(r"make wheel-check: \d+ s, failed with status 3", said[-1])


def test_ci_goes_on_where_label_studio_cannot_be_installed(checkout: Path) -> None:
    status, calls, said = run(checkout, failing="label-studio")
    assert status == 0 and calls[-1].startswith("python -m benchmarks.fuzz")
    assert re.search(r"^make label-studio: \d+ s, failed with status 3$", "\n".join(said), re.M)
