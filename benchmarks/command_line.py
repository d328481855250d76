"""How long `curate --help` takes: the median of 20 runs. Bar: 0.3 s on an idle machine.

python benchmarks/command_line.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

CLI = Path(__file__).parent.parent / "cli.py"
NUM_RUNS = 20
BAR_SECONDS = 0.3


def seconds_of_help() -> float:
    """Return the wall time of one `curate --help` in a process of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, str(CLI), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print the median, the slowest, and whether the bar is met."""
    seconds = [seconds_of_help() for _ in range(NUM_RUNS)]
    median = statistics.median(seconds)
    print(f"curate --help: median {median:.3f} s, slowest {max(seconds):.3f} s of {NUM_RUNS}")
    print("met" if median < BAR_SECONDS else f"NOT met: the bar is {BAR_SECONDS} s")


if __name__ == "__main__":
    main()
