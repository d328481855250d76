"""Proof of a release: every byte against its manifest, and its images made again."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.outside import is_plain_file
from curate.production.plan import item_key
from curate.rating.edits import ROLE
from curate.release.certificate import (
    CALIBRATION,
    CERTIFICATE,
    images_that_differ,
    recheck,
)
from curate.release.manifest import (
    DEFUSED,
    MANIFEST,
    Manifest,
    ManifestImage,
    ManifestPrompt,
    read_manifest,
)
from curate.release.tables import MINIM, read_csv
from curate.samples.formats import EXTENSIONS, PNG, decode, encode, pixels_of
from curate.samples.marks import marked, unmarked
from curate.samples.pixels import pixels_hash
from db import queries
from db.engine import Session
from generators.families.elsewhere import is_from_elsewhere
from generators.sample import Sample

BIT_IDENTICAL = "bit-identical"
WITHIN_ONE_LEVEL = "within 1/255"
DIFFERENT = "different"
SHARE_WITHIN = 0.999  # of the pixels, for "within 1/255"

_REMEMBERED = {
    True: "this workspace exported it under this very id",
    False: "ALTERED: this workspace made its images, but never exported this manifest",
    None: "not proved: who made it, and that the manifest is the one they exported; no workspace "
    "here made its images. Compare the id with the one that its maker gives",
}

MakeAgain = Callable[[Sequence[ManifestImage]], Iterable[Sample]]


@dataclass(frozen=True)
class Problem:
    """A file of the folder that is not what the manifest says."""

    path: str
    # "missing", "altered", "extra", "pixels", "item", "mark", "decision", "table" or "promise"
    kind: str
    found: str


@dataclass(frozen=True)
class MadeAgain:
    """What images made again were, against those of the release."""

    num_images: int
    num_identical: int
    num_within: int
    num_same_files: int  # stored file, exported file and pixels have the hashes of the manifest
    different: tuple[str, ...]  # their paths

    @property
    def proved(self) -> str:
        """What holds of all of them: "bit-identical", "within 1/255" or "different"."""
        if self.different:
            return DIFFERENT
        return BIT_IDENTICAL if self.num_identical == self.num_images else WITHIN_ONE_LEVEL

    def lines(self) -> list[str]:
        """Return what was proved for a person to read."""
        return [
            f"{self.num_images} images made again from their seeds: {self.proved}; of "
            f"{self.num_same_files} the stored file, the exported file and the pixels",
            *(f"  different: {path}" for path in self.different),
        ]


@dataclass(frozen=True)
class Verification:
    """What was proved of a release."""

    release_id: str
    num_files: int
    num_bytes: int
    num_images: int
    problems: tuple[Problem, ...]
    remembered: bool | None  # by the workspace that made its images; None: this one made none
    made_again: MadeAgain | None  # None: not tried
    num_from_elsewhere: int = 0  # images that another generator made: nobody here can

    @property
    def ok(self) -> bool:
        """Tell whether everything that was tried holds."""
        again_ok = self.made_again is None or not self.made_again.different
        return not self.problems and self.remembered is not False and again_ok

    def lines(self) -> list[str]:
        """Return what was proved for a person to read."""
        return [
            f"release {self.release_id}",
            f"{self.num_files} files, {self.num_bytes:,} bytes, {self.num_images} images: "
            + (f"{len(self.problems)} problems" if self.problems else "every byte as listed"),
            *(f"  {problem.kind}: {problem.path} ({problem.found})" for problem in self.problems),
            _REMEMBERED[self.remembered],
            *(self.made_again.lines() if self.made_again else ["no image was made again"]),
            *(
                [f"{self.num_from_elsewhere} images were made elsewhere: they are not made again"]
                if self.num_from_elsewhere
                else []
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        proved = None if self.made_again is None else self.made_again.proved
        return {**asdict(self), "ok": self.ok, "proved": proved}


def verify_release(
    folder: Path,
    *,
    session: Session | None = None,
    make_again: MakeAgain | None = None,
    num_again: int | None = None,
) -> Verification:
    """Prove every file of a release folder against its manifest.

    A manifest that was altered together with its files proves itself: with `session` the release's
    id is looked up in the workspace, else compare it with the one that the export printed. With
    `make_again`, which yields pixels in the order asked, images are made from their seeds: all,
    or `num_again` spread over the release. Raises CurateError when there is no readable manifest.
    """
    manifest = read_manifest(folder)
    known = None  # where the images are from elsewhere, this workspace cannot know the release
    if session is not None and queries.releases.has_release(session, manifest.release_id):
        known = True
    elif session is not None:
        # by the keys that follow from what is claimed: those that are written there may be forged
        keys = [_item_key(image) for image in manifest.images]
        known = False if queries.images.has_any_item(session, keys) else None
    problems = list(files_that_differ(folder, manifest))
    damaged = {problem.path for problem in problems}
    problems += _images_that_differ(folder, manifest, damaged)
    problems += _tables_that_differ(folder, manifest, damaged)
    problems += _promises_that_fail(folder, manifest, damaged)
    made_here = [one for one in manifest.images if not is_from_elsewhere(one.settings)]
    whole = [image for image in made_here if image.path not in damaged]
    return Verification(
        release_id=manifest.release_id,
        num_files=len(manifest.files),
        num_bytes=sum(file.num_bytes for file in manifest.files),
        num_images=len(manifest.images),
        problems=tuple(problems),
        remembered=known,
        made_again=(
            None
            if make_again is None or not whole
            else compare_again(folder, spread(whole, num_again), make_again)
        ),
        num_from_elsewhere=len(manifest.images) - len(made_here),
    )


def spread(images: Sequence[ManifestImage], count: int | None) -> list[ManifestImage]:
    """Return all images or `count` evenly from first to last, those made alike together."""
    num = len(images) if count is None else min(count, len(images))
    chosen = [images[place * len(images) // num] for place in range(num)]
    return sorted(chosen, key=lambda i: (i.version_id, repr(sorted(i.settings.items())), i.path))


def compare_again(
    folder: Path, images: Sequence[ManifestImage], make_again: MakeAgain
) -> MadeAgain:
    """Make images again and compare each with the one in the folder."""
    likenesses, num_same_files = {}, 0
    for image, again in zip(images, make_again(images), strict=True):
        likenesses[image.path] = likeness(decode((folder / image.path).read_bytes()), again)
        stored = encode(again).content
        leaves = marked(stored) if image.is_marked else stored
        hashes = [hashlib.sha256(content).hexdigest() for content in (stored, leaves)]
        hashes.append(pixels_hash(pixels_of(again)))
        leaving = hashes[1] if image.is_signed else image.sha256  # a signature is not made again
        num_same_files += hashes == [image.stored_sha256, leaving, image.pixels_sha256]
    counts = Counter(likenesses.values())
    return MadeAgain(
        num_images=len(likenesses),
        num_identical=counts[BIT_IDENTICAL],
        num_within=counts[WITHIN_ONE_LEVEL],
        num_same_files=num_same_files,
        different=tuple(path for path, like in likenesses.items() if like == DIFFERENT),
    )


def likeness(original: Sample, again: Sample) -> str:
    """Say how near pixels made again come: "bit-identical", "within 1/255" or "different".

    Within 1/255 means at most that much of the full range on at least 99.9 % of the pixels: what
    another batch shape or device may change.
    """
    if original == again:
        return BIT_IDENTICAL
    before, after = original.array, again.array
    if before.shape != after.shape or before.dtype != after.dtype or original.kind == "labels":
        return DIFFERENT
    if (original.kind, original.spacing_mm, original.affine) != (
        again.kind,
        again.spacing_mm,
        again.affine,
    ):
        return DIFFERENT
    one_level = np.iinfo(before.dtype).max / 255 if original.kind == "intensity" else 1  # HU
    distance = np.abs(before.astype(np.int64) - after.astype(np.int64))
    return WITHIN_ONE_LEVEL if (distance <= one_level).mean() >= SHARE_WITHIN else DIFFERENT


def files_that_differ(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    """Yield what of a folder is missing, altered or not in its manifest."""
    for file in manifest.files:
        if not is_plain_file(folder, file.path):
            yield Problem(file.path, "missing", "no such file")
            continue
        content = (folder / file.path).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            yield Problem(
                file.path,
                "altered",
                f"{len(content)} bytes with SHA-256 {found[:12]}, the manifest says "
                f"{file.num_bytes} bytes with {file.sha256[:12]}",
            )
    listed = {file.path for file in manifest.files} | {MANIFEST}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in listed and (path.is_symlink() or not path.is_dir()):
            yield Problem(name, "extra", "not in the manifest")


def _item_key(image: ManifestImage) -> str:
    """Return the key that follows from version, prompt, seed and settings as they are claimed."""
    return item_key(image.version_id, _prompt_id(image.prompt), image.seed, dict(image.settings))


def _prompt_id(prompt: ManifestPrompt) -> str:
    return queries.prompts.prompt_hash(
        modality=prompt.modality,
        text=prompt.text,
        label=prompt.label,
        record=prompt.record,
        conditions=prompt.conditions,
    )


def _images_that_differ(
    folder: Path, manifest: Manifest, damaged: Collection[str]
) -> Iterator[Problem]:
    """Yield images that are not what the manifest says of them, or not what its rule keeps."""
    listed = {file.path: file.sha256 for file in manifest.files}
    rule = manifest.raw.get("rule")
    if not isinstance(rule, dict) or not isinstance(rule.get("threshold"), int | float):
        yield Problem(MANIFEST, "decision", "no rule that says from which score images were kept")
        rule = None
    check = (rule or {}).get("label_check")
    least_label = check["least"] if isinstance(check, dict) and "least" in check else 0.0
    for image in manifest.images:
        if listed.get(image.path) != image.sha256:
            yield Problem(image.path, "altered", "the manifest lists it twice, differently")
        elif image.path not in damaged:
            content = (folder / image.path).read_bytes()
            found = pixels_hash(pixels_of(decode(content)))
            if found != image.pixels_sha256:
                yield Problem(image.path, "pixels", f"pixel hash {found[:12]}")
            before = hashlib.sha256(unmarked(content)).hexdigest()
            # a NIfTI is packed anew for its mark, which another zlib does in other bytes
            if before != image.stored_sha256 and image.path.endswith(EXTENSIONS[PNG]):
                yield Problem(image.path, "mark", f"without its mark SHA-256 {before[:12]}")
        if image.prompt.id != _prompt_id(image.prompt):
            yield Problem(image.path, "item", "its prompt is not the one that its id names")
        elif image.item_key != _item_key(image):
            yield Problem(image.path, "item", "its key is not that of its version, seed, settings")
        if rule is None:
            continue
        if image.reward_model_id != rule.get("reward_model_id"):
            yield Problem(image.path, "decision", "scored by another reward model than the rule's")
        elif not image.score >= rule["threshold"]:
            yield Problem(image.path, "decision", f"score {image.score} is below the threshold")
        elif image.label_probability is not None and image.label_probability < least_label:
            said = f"its label's probability {image.label_probability} is below the label check's"
            yield Problem(image.path, "decision", said)


def _tables_that_differ(
    folder: Path, manifest: Manifest, damaged: Collection[str]
) -> Iterator[Problem]:
    """Hold the words in MINIM's table against the prompts that the images were made of."""
    if MINIM not in {file.path for file in manifest.files} - set(damaged):
        return
    try:
        rows = read_csv((folder / MINIM).read_bytes(), are_defused=DEFUSED in manifest.raw)
    except (ValueError, csv.Error) as error:
        yield Problem(MINIM, "table", f"not a table ({error})")
        return
    said = {
        row.get("path"): (row.get("Text"), row.get("modality"), row.get("label")) for row in rows
    }
    for image in manifest.images:
        prompt = image.prompt
        if said.get(image.path) != (prompt.text, prompt.modality, prompt.label or ""):
            yield Problem(MINIM, "table", f"says something else of {image.path}")


def _promises_that_fail(
    folder: Path, manifest: Manifest, damaged: Collection[str]
) -> Iterator[Problem]:
    """Work the certificate out again, and hold the images that leave against it.

    Whose pictures edits are no release can prove, but how many edits and priors there are.
    """
    priors = [
        image.prompt.conditions[ROLE]
        for image in manifest.images
        if ROLE in image.prompt.conditions
    ]
    said = manifest.raw.get("edits") or {}
    if said and (said.get("num_edits"), said.get("num_priors")) != (len(priors), len(set(priors))):
        yield Problem(MANIFEST, "edits", f"{len(priors)} edits of {len(set(priors))} priors here")
    if CERTIFICATE not in {file.path for file in manifest.files} - set(damaged):
        rule = manifest.raw.get("rule")
        if isinstance(rule, dict) and rule.get("target_precision") is not None:
            yield Problem(CERTIFICATE, "promise", "a promise without a whole certificate")
        return
    certificate = (folder / CERTIFICATE).read_bytes()
    table = folder / CALIBRATION
    rated = table.read_bytes() if table.is_file() else b""
    for fault in recheck(certificate, rated, are_defused=DEFUSED in manifest.raw):
        yield Problem(CERTIFICATE, "promise", fault)
    for fault in images_that_differ(
        certificate, [(image.prompt.modality, image.score) for image in manifest.images]
    ):
        yield Problem(CERTIFICATE, "promise", fault)
