"""A million planned prompts: memory and time, from a sheet of as many lines and from one grid.

    python benchmarks/prompts_at_scale.py [--sizes 10000 1000000]

Each plan runs in a process of its own: the sheet is read, its prompts get their rows, runs are
planned. Nothing is generated. Prints one JSON object a line.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan is not None:
        print(json.dumps(plan(options.plan)))
        return
    for size, write in product(options.sizes, (write_lines, write_grid)):
        with tempfile.TemporaryDirectory() as folder:
            sheet = Path(folder) / f"{write.__name__.removeprefix('write_')}.csv"
            write(sheet, size)
            command = [sys.executable, __file__, "--plan", str(sheet)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            print(json.dumps({"asked": size} | json.loads(done.stdout)), flush=True)


def write_lines(path: Path, size: int) -> None:
    with path.open("w") as file:
        file.write("modality,text,label\n")
        file.writelines(f"OCT,drusen of patient {i},amd\n" for i in range(size))


def write_grid(path: Path, size: int) -> None:
    side = round(size**0.5)
    patients = "|".join(f"patient {i}" for i in range(side))
    findings = "|".join(f"finding {i}" for i in range(size // side))
    path.write_text(
        f'modality,text,label,patient,finding\nOCT,"{{finding}}, {{patient}}",{{finding}},'
        f"{patients},{findings}\n"
    )


def plan(sheet: Path) -> dict[str, object]:
    sys.path.insert(0, str(ROOT))
    from curate.production.plan import plans_of
    from curate.production.versions import embedded_version
    from curate.prompts.plan import planned
    from curate.prompts.sheet import stream_prompts
    from curate.workspace import init_workspace, open_workspace
    from generators.config import SamplingSettings

    workspace = sheet.parent / "workspace"
    init_workspace(workspace)
    with open_workspace(workspace) as ws:
        version = embedded_version(ws)
        before = most = resident_mb()
        started = time.monotonic()
        lines = stream_prompts(sheet, refuse=lambda remark: None)
        wanted = planned(ws, lines, count=10, first_seed=0)
        num_items = 0
        for run in plans_of(version.id, wanted, SamplingSettings()):
            num_items += run.num_items
            most = max(most, resident_mb())
        seconds = time.monotonic() - started
    return {
        "sheet": sheet.name,
        "sheet_mb": round(sheet.stat().st_size / 1e6, 1),
        "planned_images": num_items,
        "prompts_per_second": round(num_items / 10 / seconds),
        "resident_mb_before": before,
        "resident_mb_at_most": most,
    }


def resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


if __name__ == "__main__":
    main()
