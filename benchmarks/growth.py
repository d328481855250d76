"""How a workspace's commands grow: 1,000, 10,000 and 100,000 rows, processor time and memory.

    python -m benchmarks.growth --rows 1000,10000,100000
    python -m benchmarks.growth --neighbours 100000

Rows and files are made by copying, not generated: real images are a drawn one with other pixels in
its first row, synthetic ones are rows with such files, scores are drawn. Each command runs in a
process of its own. The last lines give, for each command, the exponent of its processor time (1:
linear) between the sizes, and how its memory grew. `--neighbours N` looks for near-duplicates
among N x N features of 768 numbers.
"""

import io
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.storm_places import Ended, OnDisk, Place
from benchmarks.storm_scenes import SMALL, write_data

PART = 2000  # files and rows that are added at once
LONGEST = 3600  # seconds a command
PER_PROMPT = 50  # synthetic images
MOST_EXPONENT, MOST_MB = 1.1, 200  # of processor time; of memory from the least size to the most


def pngs(count: int, seed: int) -> Iterator[bytes]:
    """Yield different small images."""
    base = np.random.default_rng(seed).integers(60, 200, (16, 16), np.uint8)
    for number in range(count):
        base[0, :4] = np.frombuffer(number.to_bytes(4, "big"), np.uint8)
        kept = io.BytesIO()
        Image.fromarray(base).save(kept, format="PNG", compress_level=1)
        yield kept.getvalue()


def write_table(folder: Path, count: int) -> None:
    """Write so many images and the table that imports them."""
    rows = ["path,Text,modality,label,patient,split"]
    (folder / "many").mkdir()
    for number, content in enumerate(pngs(count, seed=1)):
        (folder / "many" / f"{number}.png").write_bytes(content)
        label = ("normal", "drusen")[number % 2]
        rows.append(f"many/{number}.png,{label} {number % 97},OCT,{label},p{number},train")
    (folder / "many.csv").write_text("\n".join(rows) + "\n")
    sheet = [f"finding {number},OCT,{('normal', 'drusen')[number % 2]}" for number in range(count)]
    (folder / "sheet.csv").write_text("\n".join(["text,modality,label", *sheet]) + "\n")


def add_synthetic(place: Place, count: int) -> None:
    """Copy a made image's row, with a file, an item and a score of its own each."""
    from uuid import uuid4

    from sqlmodel import select

    from curate.workspace import open_workspace
    from db import queries
    from db.hashing import json_hash
    from db.models import Image as ImageRow

    with open_workspace(place.workspace) as ws:
        made = ws.session.exec(select(ImageRow).where(ImageRow.origin == "synthetic")).first()
        model = queries.reward_models.find_reward_model(ws.session)
        assert made is not None
        row = made.model_dump()
        random = np.random.default_rng(0)
        contents = list(pngs(count, seed=2))
        for start in range(0, count, PART):
            part = [(content, "image/png") for content in contents[start : start + PART]]
            hashes = queries.files.add_files(ws.session, ws.store, part)
            rows = [
                ImageRow(
                    **{
                        **row,
                        "id": uuid4(),
                        "file_sha256": sha256,
                        "pixels_sha256": sha256,
                        "seed": 1_000_000 + start + place_,
                        "item_key": json_hash([sha256]),
                    }
                )
                for place_, sha256 in enumerate(hashes)
            ]
            ws.session.add_all(rows)
            ws.session.commit()
            half = [image.id for image in rows][: len(rows) // 2]  # the others `score` scores
            drawn = [(id_, float(random.random()), 0.1) for id_ in half]
            queries.reward_models.add_scores(ws.session, model.id, drawn)


def grown(root: Path, count: int) -> dict[str, Ended]:
    """Return how each command ended on a workspace of so many real and synthetic images."""
    backend = OnDisk()
    place = backend.first(root / f"rows{count}")
    write_data(place.folder)
    write_table(place.folder, count)
    generate = ("generate", "--prompts", "prompts.csv", "--count", "40", *SMALL, "--base", "base")
    for words in (
        ("init", "ws"),
        ("import", "data.csv"),
        generate,
        ("rate", "simulate"),
        ("train-reward", "--min-ratings", "10"),
    ):
        _ran(place, words)
    ended = {
        "import": _ran(place, ("import", "many.csv")),
        "prompts": _ran(
            place, ("generate", "--prompts", "sheet.csv", "--count", "1", *SMALL, "--dry-run")
        ),
    }
    add_synthetic(place, count)
    for name, words in {
        "score": ("score",),
        "status": ("status",),
        "export": ("export", "release", "--top-share", "0.5"),
        "report": ("report", "--out", "report.html"),
        "doctor": ("doctor",),
    }.items():
        ended[name] = _ran(place, words)
    backend.drop(place)
    return ended


def _ran(place: Place, words: tuple[str, ...]) -> Ended:
    done = place.run(words, longest=LONGEST)
    if done.status != 0:
        raise RuntimeError(f"curate {' '.join(words)}: {done.said[-500:]}")
    return done


def neighbours(count: int, num_features: int = 768) -> dict[str, Any]:
    """Return seconds of processor time and MB for near-duplicates of count x count features."""
    import torch

    from curate.samples.neighbours import first_within, nearest_known

    torch.set_num_threads(1)
    features = torch.randn(count, num_features, generator=torch.Generator().manual_seed(0))
    before, told = _peak_mb(), {}
    for name, look in (
        ("near-duplicates", lambda: first_within(features, 1.0)),
        ("nearest known", lambda: nearest_known(features, features)),
    ):
        began = time.process_time()
        look()
        told[name] = {
            "rows": count,
            "cpu_s": round(time.process_time() - began, 1),
            "mb_above_features": round(_peak_mb() - before),
        }
    return told


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exponent(sizes: tuple[int, int], seconds: tuple[float, float]) -> float:
    """Return e of seconds ~ size ** e between two sizes."""
    return math.log(seconds[1] / seconds[0]) / math.log(sizes[1] / sizes[0])


def main(
    rows: Annotated[str, typer.Option(help="Sizes, smallest first.")] = "1000,10000,100000",
    near: Annotated[int, typer.Option("--neighbours", help="Only compare so many features.")] = 0,
) -> None:
    """Grow workspaces and print a line of JSON a command and size, then what grew too fast."""
    if near:
        print(json.dumps(neighbours(near)))
        return
    sizes = [int(size) for size in rows.split(",")]
    found: dict[str, list[Ended]] = {}
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        for size in sizes:
            for command, ended in grown(Path(name), size).items():
                found.setdefault(command, []).append(ended)
                line = {"command": command, "rows": size, "wall_s": round(ended.seconds, 2)}
                line |= {"cpu_s": round(ended.cpu_seconds, 2), "peak_mb": round(ended.peak_mb)}
                print(json.dumps(line), flush=True)
    too_fast = 0
    for command, ends in found.items() if len(sizes) > 1 else ():
        last_two = (sizes[-2], sizes[-1]), (ends[-2].cpu_seconds, ends[-1].cpu_seconds)
        grew, more = exponent(*last_two), ends[-1].peak_mb - ends[0].peak_mb
        is_bad = grew > MOST_EXPONENT or more > MOST_MB
        too_fast += is_bad
        print(f"{command:<8} exponent {grew:.2f}, memory {more:+.0f} MB{'  TOO FAST' * is_bad}")
    sys.exit(bool(too_fast))


if __name__ == "__main__":
    typer.run(main)
