"""A release folder: images, tables, card, ratings and the manifest that proves and rebuilds them.

Written beside its final place and renamed when whole: a killed export leaves no such folder.
The same rows give the same bytes: nothing in a release says when or where it was exported.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.progress import ShowProgress
from curate.release.card import card_bytes, licence_of
from curate.release.certificate import (
    CALIBRATION,
    CERTIFICATE,
    calibration_csv,
    certificate_bytes,
    certificate_json,
    certificate_lines,
)
from curate.release.choice import Chosen, choose, rule_json
from curate.release.classes import ClassKept, warning_lines
from curate.release.config import ExportConfig
from curate.release.croissant import CROISSANT, croissant_bytes
from curate.release.entries import IMAGES
from curate.release.formats import check_formats, files_of
from curate.release.leaving import VERIFY, as_it_leaves, verify_script
from curate.release.lineage import lineage_json, ratings_csv
from curate.release.manifest import DEFUSED, MANIFEST, manifest_bytes, read_manifest
from curate.release.seal import Seal, open_seal
from curate.release.selection import kind_of
from curate.release.tables import MINIM, has_defused, imagefolder_csv, minim_csv, rejected_csv
from curate.release.verify import files_that_differ
from curate.workspace import Workspace
from db import queries
from db.folders import publish_folder, unfinished_folder
from db.models import Release, ReleaseDecision
from db.queries.images import ScoredImage
from generators import embedded

FORMULAS = "in tables, an apostrophe stands before texts that begin with = + - @ or a tab"
OF_IMAGE = (
    "pixels_sha256", "item_key", "prompt_id", "version_id", "seed", "settings_hash", "score",
    "spread",
)  # fmt: skip
OF_REAL_IMAGE = (  # its patient goes by the group's number
    "path", "file_sha256", "modality", "text", "label", "split", "group", "source", "licence",
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    release_id: str
    folder: Path
    num_kept: int  # synthetic images
    num_rejected: int
    num_real: int  # mixed in
    reasons: Mapping[str, int]  # why images were rejected, without what differs between images
    classes: tuple[ClassKept, ...]
    threshold: float
    simulated_ratings: bool  # the reward model that chose was fitted to simulated ratings
    certificate: Mapping[str, Any] | None  # what is promised of the images
    new: bool  # False: the same release lay there already
    mixed_settings: Mapping[str, int]  # images by sampling settings, where they differ
    notes: tuple[str, ...] = ()  # of labels: nearly equal images that leave, what was checked
    dry_run: bool = False  # only chosen: nothing is written, hence no id

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {**asdict(self), "folder": str(self.folder)}
        return values if self.dry_run else {n: v for n, v in values.items() if n != "dry_run"}

    def lines(self) -> list[str]:
        """Return what happened for a person to read."""
        chosen_by = "simulated ratings" if self.simulated_ratings else "people's ratings"
        would = "would be " * self.dry_run
        return [
            f"{self.num_kept} images {would}kept, {self.num_rejected} rejected "
            f"(threshold {self.threshold:.3f}; scores learned from {chosen_by})",
            *([f"{self.num_real} real training images mixed in"] if self.num_real else []),
            *(certificate_lines(self.certificate) if self.certificate else []),
            *(
                [
                    f"{len(self.mixed_settings)} sets of sampling settings are mixed; `--run` "
                    "takes the images of one run:",
                    *(f"  {count:>6} {name}" for name, count in self.mixed_settings.items()),
                ]
                if self.mixed_settings
                else []
            ),
            *(f"  {count:>6} {reason}" for reason, count in self.reasons.items()),
            *warning_lines(self.classes),
            *self.notes,
            *(
                ["nothing is written (--dry-run)"]
                if self.dry_run
                else [
                    f"release {self.release_id}",
                    f"{'written to' if self.new else 'is there already:'} {self.folder}",
                ]
            ),
        ]


def export_release(
    ws: Workspace, folder: Path | None, config: ExportConfig, progress: ShowProgress
) -> Exported:
    """Choose images, write them with their evidence as `folder`, and remember every decision.

    Without a folder it is `releases/ID` of the workspace. The same release again changes nothing.
    Raises CurateError when nothing passes or when the folder holds anything else.
    """
    seal = open_seal(config.sign) if config.sign else None  # first: choosing may take minutes
    chosen = _chosen(ws, folder, config, progress)
    parent = folder.parent if folder else ws.folder / "releases"
    with unfinished_folder(parent, f".{folder.name if folder else 'release'}.partial-") as aside:
        manifest = _write(ws, chosen, aside, progress, seal)
        release_id = hashlib.sha256(manifest).hexdigest()
        _refuse_broken(aside)
        place = folder or parent / release_id[:12]
        new = _publish(aside, place, manifest)
    _remember(ws, chosen, release_id, place.name, manifest)
    return replace(_told_of(chosen), release_id=release_id, folder=place, new=new, dry_run=False)


def would_export(
    ws: Workspace, folder: Path | None, config: ExportConfig, progress: ShowProgress
) -> Exported:
    """Choose as `export_release` does, and write nothing."""
    return _told_of(_chosen(ws, folder, config, progress))


def _chosen(
    ws: Workspace, folder: Path | None, config: ExportConfig, progress: ShowProgress
) -> Chosen:
    check_formats(config.formats)
    if folder is not None and folder.exists() and not (folder / MANIFEST).is_file():
        if not folder.is_dir() or any(folder.iterdir()):
            raise CurateError(f"{folder} exists and is not a release. Name a new folder.")
    return choose(ws, config, progress)


def _told_of(chosen: Chosen) -> Exported:
    """Return what is told of a choice that nothing was written of."""
    rejected = Counter(kind_of(d.reason) for d in chosen.decisions if not d.kept)
    return Exported(
        release_id="",
        folder=Path(),
        num_kept=len(chosen.kept),
        num_rejected=rejected.total(),
        num_real=len(chosen.entries) - len(chosen.kept),
        reasons=dict(rejected.most_common()),
        classes=tuple(chosen.classes),
        threshold=chosen.threshold,
        simulated_ratings=chosen.reward_model.simulated,
        certificate=certificate_json(chosen.certificate) if chosen.certificate else None,
        new=False,
        mixed_settings=chosen.mixed_settings,
        notes=tuple(chosen.label_notes),
        dry_run=True,
    )


def _write(
    ws: Workspace, chosen: Chosen, folder: Path, progress: ShowProgress, seal: Seal | None
) -> bytes:
    """Write every file of the release and return the manifest's bytes."""
    written = _Written(folder)
    with progress(len(chosen.entries), "images written") as advance:
        for entry in chosen.entries:
            decision = chosen.kept.get(entry.path)
            content = as_it_leaves(
                ws,
                entry,
                mark=chosen.config.mark,
                seal=seal,
                lineage=_lineage_of(decision.image, chosen) if decision else None,
            )
            written.add(entry.path, content)
            advance(1)
    simulated = chosen.reward_model.simulated
    written.add(MINIM, minim_csv(chosen.entries))
    splits = sorted({entry.split for entry in chosen.entries})
    for split in splits:  # a metadata.csv describes its folder: one a split
        place = IMAGES if len(splits) == 1 else f"{IMAGES}/{split}"
        own = [entry for entry in chosen.entries if entry.split == split]
        table = imagefolder_csv(own, place, simulated_ratings=simulated)
        written.add(f"{place}/metadata.csv", table)
    written.add("rejected.csv", rejected_csv(chosen.decisions))
    written.add("ratings.csv", ratings_csv(chosen.lineage))
    if chosen.promised is not None:
        certificate = chosen.promised.certificate
        images = [decision.image for decision in chosen.decisions]
        table = calibration_csv(certificate.calibration, images, chosen.promised.admitted)
        written.add(CALIBRATION, table)
        written.add(CERTIFICATE, certificate_bytes(certificate))
    for name in chosen.config.formats:
        for path, content in files_of(
            name,
            chosen.entries,
            lambda entry: (folder / entry.path).read_bytes(),
            simulated_ratings=simulated,
        ):
            written.add(path, content)
    if any(version.how_made == "embedded" for version in chosen.lineage.versions.values()):
        written.add("ATTRIBUTION.md", embedded.ATTRIBUTION.read_bytes())
    written.add(VERIFY, verify_script())
    written.add(CROISSANT, croissant_bytes(chosen, written.files))
    written.add("README.md", card_bytes(chosen, has_formulas=written.has_defused))
    manifest = manifest_bytes(_manifest(ws, chosen, written))
    (folder / MANIFEST).write_bytes(manifest)
    return manifest


def _lineage_of(image: ScoredImage, chosen: Chosen) -> dict[str, Any]:
    """Return what the manifest says of an image, and what chose it."""
    said = {name: getattr(image, name) for name in OF_IMAGE}
    return {**said, "stored_sha256": image.file_sha256, "reward_model_id": chosen.reward_model.id}


class _Written:
    """The files written so far, as the manifest lists them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}
        self.has_defused = False  # of texts in tables that a spreadsheet would run

    def add(self, path: str, content: bytes) -> None:
        if path in self.files:
            raise ValueError(f"two files named {path}")
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.files[path] = {"path": path, "sha256": sha256, "num_bytes": len(content)}
        self.has_defused |= path.endswith(".csv") and has_defused(content)


def _manifest(ws: Workspace, chosen: Chosen, written: _Written) -> dict[str, Any]:
    kept = chosen.kept
    rows = queries.images.images_by_id(ws.session, [d.image.image_id for d in kept.values()])
    images = []
    for path, decision in kept.items():
        image = decision.image
        environment_id = rows[image.image_id][0].environment_id
        where = {
            "path": path,
            "sha256": written.files[path]["sha256"],
            "environment_id": environment_id,
        }
        check = chosen.label_check
        read = check and {"label_probability": check.probability.get(image.item_key)}
        signed = {"signed": True} if chosen.config.sign and path.endswith(".png") else {}
        images.append({**_lineage_of(image, chosen), **where, **signed, **(read or {})})
    prompts = {prompt.id: prompt for _, prompt in rows.values()}
    conditions = queries.prompts.conditions_of(ws.session, list(prompts))
    environments = {image.environment_id for image, _ in rows.values() if image.environment_id}
    return {
        "files": [written.files[path] for path in sorted(written.files)],
        "images": images,
        "real_images": [
            {name: getattr(entry, name) for name in OF_REAL_IMAGE}
            for entry in chosen.entries
            if entry.origin == "real"
        ],
        "prompts": {
            id_: {
                "modality": prompt.modality,
                "text": prompt.text,
                "label": prompt.label,
                "record": prompt.record,
                "conditions": conditions.get(id_, {}),
            }
            for id_, prompt in prompts.items()
        },
        "settings": {image.settings_hash: image.settings for image, _ in rows.values()},
        "environments": {
            id_: row.details
            for id_, row in queries.runs.environments(ws.session, environments).items()
        },
        **({DEFUSED: FORMULAS} if written.has_defused else {}),
        **({"edits": chosen.edits.to_json()} if chosen.edits else {}),
        "rule": rule_json(chosen),
        "licence": licence_of(chosen.config, chosen.lineage),
        **lineage_json(ws, chosen.lineage),
    }


def _refuse_broken(folder: Path) -> None:
    """Read a release back: what is published and remembered is what the manifest lists."""
    problems = list(files_that_differ(folder, read_manifest(folder)))
    if problems:
        raise CurateError(
            f"{len(problems)} files of the release in {folder} are not as they were written "
            f"({problems[0].path}: {problems[0].found}). Check the disk, then export again."
        )


def _publish(folder: Path, place: Path, manifest: bytes) -> bool:
    """Give the whole folder its name; False when the same release lies there already."""
    if not _is_there(place, manifest):
        try:
            publish_folder(folder, place)
            return True
        except FileExistsError as error:
            if not _is_there(place, manifest):  # else another export was quicker by a moment
                raise CurateError(
                    f"{place} contains another release or other files. Name a new folder."
                ) from error
    _refuse_broken(place)
    return False


def _is_there(place: Path, manifest: bytes) -> bool:
    known = place / MANIFEST
    return known.is_file() and known.read_bytes() == manifest


def _remember(ws: Workspace, chosen: Chosen, release_id: str, name: str, manifest: bytes) -> None:
    """Manifest into the store, release and decisions into the database; known ones stay."""
    [sha256] = queries.files.add_files(ws.session, ws.store, [(manifest, "application/json")])
    release = Release(
        id=release_id,
        name=name,
        manifest_sha256=sha256,
        reward_model_id=chosen.reward_model.id,
        rule=rule_json(chosen),
        evidence={
            "num_kept": len(chosen.kept),
            "num_rejected": len(chosen.decisions) - len(chosen.kept),
            "num_real": len(chosen.entries) - len(chosen.kept),
            "simulated_ratings": chosen.reward_model.simulated,
            "certificate": certificate_json(chosen.certificate) if chosen.certificate else None,
        },
    )
    decisions = [
        ReleaseDecision(
            release_id=release_id,
            image_id=decision.image.image_id,
            decision="kept" if decision.kept else "rejected",
            reason=decision.reason,
            score=decision.image.score,
            threshold=decision.threshold,
        )
        for decision in chosen.decisions
    ]
    distances = {of: far for of, far in chosen.train_distances.items() if isfinite(far)}
    queries.standings.note_standings(ws.session, "train_distance", distances)
    queries.audit.add_result(ws.session, "export", {"release": release_id, "folder": name}, {})
    queries.releases.add_release(ws.session, release, decisions)
