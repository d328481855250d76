"""Tests that share what is costly to make run in one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import group_of

ROOT = Path(__file__).parent.parent
NOTED = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number):
    with Path("ran.txt").open("a") as file:
        file.write(f"{Path(__file__).name} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""


def test_a_folder_whose_tests_share_a_server_is_one_group() -> None:
    assert group_of("tests/db/test_store.py") == group_of("tests/db/test_engine.py") == "tests/db"
    assert group_of("tests/rewards/test_model.py") == "tests/rewards/test_model.py"


@pytest.mark.slow
def test_two_processes_do_not_share_a_files_tests(tmp_path: Path) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_xdist_make_scheduler\n"
    )
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(NOTED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    ran = (tmp_path / "ran.txt").read_text().splitlines()
    assert len(ran) == 8 and len(set(ran)) == 2  # each file in one process
