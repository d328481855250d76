"""How fast a reward model is fitted and scores, and whether its memory grows with the images.

    python -m benchmarks.reward_speed [--images 100000] [--fresh 2000] [--threads 2]

Makes a temporary workspace of grainy 64 x 64 px pictures (--fresh different files; the other rows
point at the same files, so they come from the feature cache), fits a model to 1,000 ratings with
the backbone that ships, and scores everything: first the fresh ones, features not cached, then
all others. Bars: fit under 60 s, at least 200 images/s not cached, on 2 cores; peak memory of the
second half of the images no more than 5 % above that of the first half.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from annotation.config import default_raters
from annotation.simulated import SimulatedRater
from curate.samples.features import features_of
from curate.samples.pixels import pixels_hash, png_bytes
from curate.scoring.score import score_images
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Image
from db.models import RewardModel as RewardModelRow
from rewards.backbones import load_backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from rewards.ratings import RatedImages

NUM_RATED = 500  # two ratings each
SIDE = 64
ROWS_A_COMMIT = 5_000
MODALITIES = ("OCT", "CXR", "Fundus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--fresh", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(Path(folder) / "ws")
        with open_workspace(Path(folder) / "ws") as ws:
            print(json.dumps(measure(ws, options.images, options.fresh), indent=1))


def measure(ws: Workspace, num_images: int, num_fresh: int) -> dict:
    """Return the figures."""
    files = add_images(ws, num_fresh)
    model, fit_seconds, fit_cpu = fit(ws, [sha for sha, _ in files[:NUM_RATED]])
    row = keep(ws, model)
    cache = next((ws.cache / "features").iterdir())
    cache.unlink()
    started, used = time.perf_counter(), time.process_time()
    fresh = score_images(ws, row, advance=lambda n: None, model=model)
    uncached = time.perf_counter() - started, time.process_time() - used
    add_rows(ws, files, num_images - num_fresh)
    peaks: list[int] = []
    started, used = time.perf_counter(), time.process_time()
    rest = score_images(ws, row, advance=lambda n: peaks.append(peak_mib()), model=model)
    cached = time.perf_counter() - started, time.process_time() - used
    return {
        "threads": torch.get_num_threads(),
        "fit_1000_ratings_s": round(fit_seconds, 2),
        "fit_1000_ratings_cpu_s": round(fit_cpu, 2),
        "images_per_s_not_cached": round(fresh.new / uncached[0], 1),
        "images_per_cpu_s_not_cached": round(fresh.new / uncached[1], 1),
        "images_per_s_cached": round(rest.new / cached[0], 1),
        "images_per_cpu_s_cached": round(rest.new / cached[1], 1),
        "num_images": num_images,
        "peak_mib_after_half": peaks[len(peaks) // 2],
        "peak_mib_at_the_end": peaks[-1],
    }


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def add_images(ws: Workspace, count: int) -> list[tuple[str, str]]:
    """Add `count` different images; return (hash of the file, of the pixels)."""
    random = np.random.default_rng(0)
    added: list[tuple[str, str]] = []
    while len(added) < count:
        some = min(500, count - len(added))
        arrays = (255 * random.random((some, SIDE, SIDE))).astype(np.uint8)
        contents = [(png_bytes(array), "image/png") for array in arrays]
        shas = queries.files.add_files(ws.session, ws.store, contents)
        added += [(sha, pixels_hash(a)) for sha, a in zip(shas, arrays, strict=True)]
    add_rows(ws, added, count)
    return added


def add_rows(ws: Workspace, files: list[tuple[str, str]], count: int) -> None:
    """Add image rows, the files in turn."""
    prompts = [
        queries.prompts.get_or_add_prompt(ws.session, modality=modality, text="normal").id
        for modality in MODALITIES
    ]
    for start in range(0, count, ROWS_A_COMMIT):
        for number in range(start, min(start + ROWS_A_COMMIT, count)):
            sha, pixels = files[number % len(files)]
            image = Image(
                file_sha256=sha,
                pixels_sha256=pixels,
                origin="real",
                prompt_id=prompts[number % len(prompts)],
                shape=[1, SIDE, SIDE],
            )
            ws.session.add(image)
        ws.session.commit()
        ws.session.expunge_all()


def fit(ws: Workspace, sha256s: list[str]) -> tuple[RewardModel, float, float]:
    """Return a model fitted to two ratings of each image, and the seconds: all, and of a core."""
    backbone = load_backbone("embedded")
    truth = np.random.default_rng(1).random(len(sha256s)).tolist()
    raters = [SimulatedRater(config) for config in default_raters(2)]
    occasions = [str(number) for number in range(len(sha256s))]
    grades = [rater.rate(truth, (0.3, 0.6), occasions, min_value=0) for rater in raters]
    modalities = [MODALITIES[n % len(MODALITIES)] for n in range(len(sha256s))]
    started, used = time.perf_counter(), time.process_time()
    rated = RatedImages(
        features_ND=features_of(ws, backbone, sha256s),
        modalities=modalities,
        texts=["normal"] * len(sha256s),
        prompts=occasions,
        image_R=torch.arange(len(sha256s)).repeat(2),
        grade_R=torch.tensor(grades).flatten(),
        raters=[rater.config.name for rater in raters for _ in sha256s],
        weight_R=torch.ones(2 * len(sha256s)),
    )
    model = RewardModel(backbone, RewardConfig()).fit(rated)
    return model, time.perf_counter() - started, time.process_time() - used


def keep(ws: Workspace, model: RewardModel) -> RewardModelRow:
    path = ws.cache / "model.safetensors"
    model.save(path)
    contents = [(path.read_bytes(), "application/x-safetensors")]
    [sha] = queries.files.add_files(ws.session, ws.store, contents)
    row = RewardModelRow(
        id="c" * 64, backbone="embedded", file_sha256=sha, simulated=True, num_ratings=1000
    )
    ws.session.add(row)
    ws.session.commit()
    return row


if __name__ == "__main__":
    main()
