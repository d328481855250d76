"""Prove this release with Python alone: no other package, no network, no workspace.

    python verify.py [FOLDER]

Every file against the manifest, marked files against what they were before their mark, decisions
against the rule, and the promise's binomial tests again from the counts. It cannot say who wrote
the manifest: compare the release's id, which it prints, with the one that its maker gives.
"""

import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from math import exp, lgamma, log, log1p
from pathlib import Path
from typing import Any

XMP = b"iTXtXML:com.adobe.xmp\0\0\0\0\0"  # how the mark of a synthetic PNG begins
SEAL = b"caBX"  # how a signature (C2PA) begins
ALL = "all modalities"


def _problems_of(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Yield what does not hold of a release folder."""
    listed = {file["path"]: file["sha256"] for file in manifest["files"]}
    for path, sha256 in listed.items():
        place = folder / path
        if os.path.isabs(path) or ".." in path.split("/"):
            yield f"{path}: lies outside the folder"
        elif not place.is_file() or place.resolve() != folder.resolve() / path:
            yield f"{path}: missing, or behind a link"
        elif hashlib.sha256(place.read_bytes()).hexdigest() != sha256:
            yield f"{path}: other bytes than the manifest says"
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if name not in {*listed, "manifest.json"} and (place.is_symlink() or not place.is_dir()):
            yield f"{name}: not in the manifest"
    rule = manifest["rule"]
    for image in manifest["images"]:
        path = image["path"]
        if listed.get(path) != image["sha256"]:
            yield f"{path}: listed twice, differently"
        if image["reward_model_id"] != rule["reward_model_id"]:
            yield f"{path}: scored by another reward model than the rule's"
        if not image["score"] >= rule["threshold"]:
            yield f"{path}: score {image['score']} is below the threshold {rule['threshold']}"
        stored = image.get("stored_sha256", image["sha256"])
        if path.endswith(".png") and (folder / path).is_file():
            if hashlib.sha256(_without_mark((folder / path).read_bytes())).hexdigest() != stored:
                yield f"{path}: without its mark it is not the file that was stored"
    keys = {image["item_key"] for image in manifest["images"]}
    for row in table(folder / "rejected.csv"):
        if row["item_key"] in keys:
            yield f"rejected.csv: {row['item_key']} was kept"
        below = row["reason"] == "score below the threshold"
        if below and not float(row["score"]) < float(row["threshold"]):
            yield f"rejected.csv: {row['item_key']} is not below the threshold"
    if rule.get("target_precision") is not None:
        yield from _promise_problems(folder, manifest["images"])


def _without_mark(png: bytes) -> bytes:
    """Return a PNG's bytes without signature and mark, which stand behind its header."""
    for begins in (SEAL, XMP):
        if png[37:].startswith(begins):
            png = png[:33] + png[33 + 12 + int.from_bytes(png[33:37], "big") :]
    return png


def table(path: Path) -> list[dict[str, str]]:
    """Return a table's rows; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _promise_problems(folder: Path, images: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what of the certificate does not follow from its counts, or from the drawn images."""
    if not (folder / "certificate.json").is_file():
        yield "certificate.json: a promise without a certificate"
        return
    said = json.loads((folder / "certificate.json").read_bytes())
    parts, drawn = said["certified"], said["calibration"]
    error = 1 - said["target_precision"]
    at_most = (1 - said["confidence"]) / (len(parts) + len(said["failed"]))  # Bonferroni
    share = drawn["num_drawn"] / drawn["num_drawn_from"]
    rows = table(folder / "calibration.csv")
    if sum(part["num_images"] for part in parts) != len(images):
        yield f"certificate.json: not of {len(images)} images"
    for part in parts:
        name = part["modality"]
        own = [r for r in rows if name in (ALL, r["modality"]) and r["admitted"] == "yes"]
        errors = sum(row["good"] != "yes" for row in own)
        if (len(own), errors) != (part["num_rated"], part["num_errors"]):
            yield f"{name}: calibration.csv has {errors} errors in {len(own)} rated"
        passed = None
        for rung in part["rungs"][first_rung(part["rungs"], error, at_most, share) :]:
            num = rung["num_rated"]
            if not num or tail(rung["num_errors"], num, error) > at_most:
                break
            passed = rung
        if passed is None:
            yield f"{name}: its counts support no promise"
        elif passed["threshold"] != part["threshold"]:
            yield f"{name}: its counts give the threshold {passed['threshold']}"
        chance = tail(part["num_errors"], part["num_rated"], error)
        if abs(chance - part["chance"]) > 1e-9:
            yield f"{name}: the chance of so few errors is {chance}, not {part['chance']}"
        if (
            tail(part["num_errors"], part["num_rated"], 1 - part["precision_bound"])
            < at_most - 1e-9
        ):
            yield f"{name}: at least {part['precision_bound']} good does not follow"


def tail(errors: int, num: int, share: float) -> float:
    """Return the chance of at most so many errors among so many, each with this chance."""
    if share <= 0 or errors >= num:
        return 1.0
    if share >= 1:
        return 0.0
    return sum(
        exp(
            lgamma(num + 1) - lgamma(k + 1) - lgamma(num - k + 1)
            + k * log(share) + (num - k) * log1p(-share)
        )
        for k in range(errors + 1)
    )  # fmt: skip


def first_rung(rungs: list[dict[str, Any]], error: float, at_most: float, share: float) -> int:
    """Return where the tests began: numbers of images say, not what was found of them."""
    expected = [rung["num_images"] * share for rung in rungs]
    needed = {}
    for errors in range(1, 6):
        num = errors + 1
        while tail(errors, num, error) > at_most:
            num += 1
        needed[errors] = num
    affordable = [needed[errors] for errors in range(2, 6) if needed[errors] <= max(expected) / 2]
    least = max(affordable, default=needed[1])
    return next((n for n, rated in enumerate(expected) if rated >= least), len(rungs) - 1)


def main() -> int:
    """Prove the folder that is named, or that this file lies in; return 0 if everything holds."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    try:
        content = (folder / "manifest.json").read_bytes()
        problems = list(_problems_of(folder, json.loads(content)))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        print(f"{folder} is not a complete release ({type(error).__name__}: {error})")
        return 1
    print(f"release {hashlib.sha256(content).hexdigest()}")
    print(*problems or ["every file, decision and promise matches the manifest"], sep="\n")
    print(
        "this does not prove who wrote the manifest: compare the id with the one that its "
        "maker states"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
