"""What the quickstart shows, over several seeds, failures included.

    python benchmarks/quickstart.py [--seeds 3] [--data DATA.csv]

Each seed runs `curate quickstart` in a new folder as a user would, then `curate evaluate`. With
--data real images are imported, so that their MS-SSIM stands beside. Prints a line a seed as it
ends and one JSON object. Bars: at most 5 minutes on 2 idle cores and 8 GB; the base's judged share
of score 3 in 20-70 %; the difference base to last above 0, its interval excluding 0; MS-SSIM among
images of a prompt up by at most 10 %.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAX_SECONDS, MAX_GIB = 300, 8
BASE_SHARE = (0.20, 0.70)
MAX_MS_SSIM_RISE = 1.10


def curate(*arguments: str) -> dict:
    """Run one command of this checkout and return what it printed as JSON."""
    command = [sys.executable, str(Path(__file__).parents[1] / "cli.py"), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def run_seed(seed: int, data: Path | None, folder: Path) -> dict:
    """Return the figures of one quickstart."""
    started = time.monotonic()
    result = curate("quickstart", str(folder), "--seed", str(seed), "--json")
    seconds = time.monotonic() - started
    if data is not None:
        curate("import", str(data), "--workspace", str(folder), "--json")
    measured = curate("evaluate", "--workspace", str(folder), "--json")
    figures = {v["version_id"]: v["figures"] for v in measured["versions"]}
    base, last = figures[result["base"]], figures[result["last"]]
    return {
        "seed": seed,
        "seconds": seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "rounds": [row["state"] for row in result["rounds"]],
        "judged": result["judged_share_of_top"],
        "ms_ssim": {
            name: figures and figures["ms_ssim"]
            for name, figures in (("base", base), ("last", last), ("real", measured["real"]))
        },
        "kid": {"base": base["kid"], "last": last["kid"]},
        "memorised": {"base": base["memorised"], "last": last["memorised"]},
        "kept": result["release"]["num_kept"],
    }


def bars(row: dict) -> dict[str, bool]:
    """Return which bars a seed reaches."""
    judged, ms_ssim = row["judged"], row["ms_ssim"]
    low, high = BASE_SHARE
    return {
        "time": row["seconds"] <= MAX_SECONDS,
        "memory": row["peak_gib"] <= MAX_GIB,
        "base share": low <= judged["base"]["value"] <= high,
        "better": judged["difference"]["value"] > 0,
        "interval excludes zero": judged["difference"]["low"] > 0,
        "varied": ms_ssim["last"]["value"] <= MAX_MS_SSIM_RISE * ms_ssim["base"]["value"],
    }


def main() -> None:
    """Run the seeds and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            row = run_seed(seed, options.data, Path(folder) / "quickstart")
        row["bars"] = bars(row)
        rows.append(row)
        difference = row["judged"]["difference"]
        print(
            f"seed {seed}: {row['seconds']:.0f} s, base {row['judged']['base']['value']:.3f}, last "
            f"{row['judged']['last']['value']:.3f}, difference {difference['value']:+.3f} "
            f"({difference['low']:+.3f} to {difference['high']:+.3f}), {row['rounds']}",
            file=sys.stderr,
            flush=True,
        )
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
