"""Is a known move found again, and do real pairs of films lie better over each other?

    python -m benchmarks.registration [--films 40] [--pairs PAIRS.csv]

Procedural films, each moved by a known shift (at most 8 of 256 pixels) and turn (at most 5
degrees), with another exposure and grain, are registered to where they came from. A table of pairs
(columns prior, new, patient; paths relative to it) is registered too, its priors are moved in the
same way, and pairs of strangers are registered beside. Prints every bar with its figure.
"""

import argparse
import csv
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.journeys.geometry import Grey, Registration, register
from curate.journeys.phantoms import NOISE, _moved_by, draw, patients

SIDE = 256
MOST_SHIFT, MOST_DEGREES = 8.0, 5.0
NUM_STRANGERS = 60
FOUND, MEDIAN_NCC, CPU_S = 0.95, 0.62, 0.4  # the bars


def main() -> None:
    """Register everything and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--pairs", type=Path)
    asked = parser.parse_args()
    drawn = [
        draw(one.number, one.anatomy, one.visits[0].findings, SIDE)[0].astype(np.float32)
        for one in patients(asked.films, seed=4)
    ]
    told_of_moves("procedural films", drawn)
    if asked.pairs is None:
        print("pairs of real films: not measured, no --pairs is given")
        return
    with asked.pairs.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    films = {
        path: film_at(asked.pairs.parent / path)
        for row in rows
        for path in (row["prior"], row["new"])
    }
    told_of_pairs(rows, films)
    chosen = random.Random(0).sample(sorted(films), min(asked.films, len(films)))
    told_of_moves("real films", [square(films[path]) for path in chosen])


def film_at(path: Path) -> Grey:
    """Return a film as float32 [H, W] in 0 .. 1."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def square(film: Grey) -> Grey:
    """Return a film in the middle of a black square, so that a move loses little of it."""
    side = max(film.shape)
    down, right = ((side - length) // 2 for length in film.shape)
    found = np.zeros((side, side), np.float32)
    found[down : down + film.shape[0], right : right + film.shape[1]] = film
    return found


def told_of_moves(name: str, films: Sequence[Grey]) -> None:
    """Move each film, register it back, and print how far off that is."""
    chance, begun = np.random.default_rng(1), time.process_time()
    off, turned = [], []
    for prior in films:
        shift = chance.uniform(-MOST_SHIFT, MOST_SHIFT, 2)
        degrees = float(chance.uniform(-MOST_DEGREES, MOST_DEGREES))
        moved = _moved_by(prior.astype(np.float64), (shift[0], shift[1]), degrees)
        exposed = moved * chance.uniform(0.8, 1.1) + chance.normal(0, NOISE, moved.shape)
        found = register(prior, exposed.clip(0, 1).astype(np.float32))
        off.append(float(np.abs([found.move.down - shift[0], found.move.right - shift[1]]).max()))
        turned.append(abs(found.move.degrees - degrees))
    spent = (time.process_time() - begun) / len(films)
    share = float(np.mean((np.array(off) < 1) & (np.array(turned) < 1)))
    print(
        f"{len(films)} known moves of {name}: {100 * share:.1f} % within 1 pixel of {SIDE} and 1 "
        f"degree (bar {100 * FOUND:g} %) {met(share >= FOUND)}; 95 % within "
        f"{np.quantile(off, 0.95):.2f} pixels and {np.quantile(turned, 0.95):.2f} degrees; "
        f"{spent:.2f} CPU-s a pair (bar {CPU_S}) {met(spent < CPU_S)}"
    )


def told_of_pairs(rows: Sequence[dict[str, str]], films: dict[str, Grey]) -> None:
    """Register the pairs of a table and pairs of strangers, and print both."""
    begun = time.process_time()
    found = [register(films[row["prior"]], films[row["new"]]) for row in rows]
    spent = (time.process_time() - begun) / len(found)
    before = np.array([one.ncc_before for one in found])
    after = np.array([one.ncc for one in found])
    worse = int((after < before).sum())
    print(
        f"{len(rows)} pairs of {len({row['patient'] for row in rows})} patients: correlation "
        f"{np.median(before):.2f} as they lay, {np.median(after):.2f} registered (median, bar "
        f"{MEDIAN_NCC}) {met(float(np.median(after)) >= MEDIAN_NCC)}; tenth percentile "
        f"{np.quantile(after, 0.1):.2f}, lowest {after.min():.2f}; {worse} worse than before (bar "
        f"0) {met(worse == 0)}; {spent:.2f} CPU-s a pair (bar {CPU_S}) {met(spent < CPU_S)}"
    )
    told_of_strangers(after, strangers(rows, films))


def strangers(rows: Sequence[dict[str, str]], films: dict[str, Grey]) -> list[Registration]:
    """Return films of different patients, registered the same way."""
    chance, found = random.Random(0), list[Registration]()
    while len(found) < NUM_STRANGERS:
        one, other = chance.choice(rows), chance.choice(rows)
        if one["patient"] != other["patient"]:
            found.append(register(films[one["prior"]], films[other["new"]]))
    return found


def told_of_strangers(pairs: NDArray[np.float64], others: Sequence[Registration]) -> None:
    """Print at several thresholds how many pairs and how many strangers would pass."""
    scores = np.array([one.ncc for one in others])
    for least in (0.5, 0.55, 0.6, 0.65):
        print(
            f"  correlation >= {least}: {100 * (pairs >= least).mean():.0f} % of pairs, "
            f"{100 * (scores >= least).mean():.0f} % of {len(scores)} strangers"
        )


def met(is_met: bool) -> str:
    """Say whether a bar is reached."""
    return "met" if is_met else "SHORT"


if __name__ == "__main__":
    main()
