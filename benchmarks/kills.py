"""Random SIGKILLs over `curate generate` and `curate train-generator`: nothing lost or doubled.

    python benchmarks/kills.py [--kills 200]

Half of the kills fall on each. After each series the work is finished and compared with a run that
nobody disturbed: the same images and the same weights, to the last bit, and `curate doctor` clean.
The tests that do it run with 4 kills in the suite; here they run with many.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = (
    "tests/curate/production/test_run.py",
    "tests/curate/training/test_killed.py",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    kills = parser.parse_args().kills // len(TESTS)
    print(f"{kills} kills each")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-k", "killed_again_and_again"),
            *("--timeout", "7200", "--durations", "2", *TESTS),
        ],
        cwd=ROOT,
        env=os.environ | {"CURATE_TEST_KILLS": str(kills)},
    )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
