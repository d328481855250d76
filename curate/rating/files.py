"""Ratings from and to MINIM's CSV.

A file's lines become answers in the campaign named in its column `campaign`, else after the file.
What is in the workspace already adds nothing, a changed value is the next revision.
"""

import hashlib
import mimetypes
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from annotation.base import Answer
from annotation.csv_file import BadLine, RatingLine, read_ratings, write_ratings
from curate.prompts.modalities import canonical_modality
from curate.rating.answers import Taken, take_answers, unknown_campaign
from curate.workspace import Workspace
from db import queries
from db.models import PURPOSES, Assignment, Campaign, Criterion, Image, Prompt
from db.queries.ratings import RatingView

FILE_BACKEND = "csv"  # a campaign that a file brought; a later file may add to it

Looks = dict[tuple[str, UUID, str], UUID]  # (rater, image, purpose) -> assignment


@dataclass(frozen=True)
class Imported:
    """What a file of ratings brought."""

    campaigns: tuple[str, ...]
    taken: Taken
    bad: tuple[BadLine, ...]


def import_ratings(
    ws: Workspace, path: Path, *, rater: str | None = None, campaign: str | None = None
) -> Imported:
    """Take the ratings of a CSV; good lines go in, bad ones are listed with file and line.

    An image is found by its bytes, else by the path it was imported from, else by a file name that
    is its SHA-256. `rater` names who gave the ratings of a file that does not say; without it they
    are kept apart by level: the second verdict of level 3 on one image is another rater's.
    """
    lines, bad = read_ratings(path)
    criteria = _criteria(ws)
    found = _find_images(ws, path, lines)
    sorted_out = _Sorter(path, found, criteria, bad)
    by_campaign: dict[str, list[RatingLine]] = defaultdict(list)
    for line in _with_raters(lines, rater, campaign or path.stem):
        if sorted_out.accepts(line):
            by_campaign[line.campaign].append(line)
    taken = Taken()
    for name, own in by_campaign.items():
        taken += _take(ws, path, name, own, sorted_out)
    queries.audit.record_event(ws.session, "rate import", {"file": path.name, "new": taken.new})
    return Imported(tuple(by_campaign), taken, tuple(sorted(bad, key=lambda line: line.line)))


def export_ratings(ws: Workspace, path: Path, *, campaign: str | None = None) -> int:
    """Write all current ratings, or one campaign's, and their images beside the file.

    The images lie in a folder named after the file, under their SHA-256. Returns how many ratings.
    """
    campaigns = {row.id: row.name for row in queries.campaigns.campaigns(ws.session)}
    if campaign is not None and campaign not in campaigns.values():
        raise unknown_campaign(campaign, list(campaigns.values()))
    views = [
        view
        for view in queries.ratings.current_ratings(ws.session)
        if campaign in (None, campaigns[view.campaign_id])
    ]
    paths = _write_images(ws, path, sorted({view.file_sha256 for view in views}))
    return write_ratings(
        path, (_line(view, paths[view.file_sha256], campaigns[view.campaign_id]) for view in views)
    )


def _write_images(ws: Workspace, path: Path, sha256s: Sequence[str]) -> dict[str, str]:
    folder = path.with_name(f"{path.stem}-images")
    folder.mkdir(parents=True, exist_ok=True)
    types = queries.files.media_types(ws.session, sha256s)
    paths = {}
    for sha256 in sha256s:
        name = f"{sha256}{mimetypes.guess_extension(types[sha256]) or ''}"
        (folder / name).write_bytes(ws.store.get(sha256))
        paths[sha256] = f"{folder.name}/{name}"
    return paths


def _line(view: RatingView, image_path: str, campaign: str) -> RatingLine:
    return RatingLine(
        image_path=image_path,
        rating=view.value,
        modality=view.modality,
        expert_level=view.expert_level,
        prompt=view.text,
        rater=view.rater,
        simulated=view.simulated,
        criterion=view.criterion,
        purpose=view.purpose,
        campaign=campaign,
        rated_at=view.rated_at,
    )


def _criteria(ws: Workspace) -> dict[str, Criterion]:
    _, criteria = queries.campaigns.default_rubric(ws.session)
    return {criterion.name: criterion for criterion in criteria}


def _with_raters(lines: Sequence[RatingLine], rater: str | None, campaign: str) -> list[RatingLine]:
    """Fill in who rated and in which campaign, where the file does not say."""
    verdicts: dict[tuple[str, int], int] = defaultdict(int)
    named = []
    for line in lines:
        line = replace(line, campaign=line.campaign or campaign)
        if not line.rater and rater:
            line = replace(line, rater=rater)
        elif not line.rater:
            verdicts[line.image_path, line.expert_level] += 1
            number = verdicts[line.image_path, line.expert_level]
            line = replace(line, rater=f"{line.campaign}/level-{line.expert_level}/{number}")
        named.append(line)
    return named


def _find_images(
    ws: Workspace, path: Path, lines: Sequence[RatingLine]
) -> dict[str, list[tuple[Image, Prompt]]]:
    """Return {image_path as written: the images it may mean}."""
    written = sorted({line.image_path for line in lines})
    hashes = {name: _hash_of_file(path.parent / name) or Path(name).stem for name in written}
    by_hash = queries.images.images_of_files(ws.session, list(hashes.values()))
    by_path = queries.images.images_of_source_paths(ws.session, written)
    return {name: by_hash.get(hashes[name]) or by_path.get(name, []) for name in written}


def _hash_of_file(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Sorter:
    """Finds each line's image and criterion; a line that fits nowhere joins the bad ones."""

    def __init__(
        self,
        path: Path,
        found: dict[str, list[tuple[Image, Prompt]]],
        criteria: dict[str, Criterion],
        bad: list[BadLine],
    ) -> None:
        self.path, self.found, self.criteria, self.bad = path, found, criteria, bad
        self.first_line: dict[tuple[str, ...], int] = {}

    def accepts(self, line: RatingLine) -> bool:
        fault = self._fault(line)
        if fault:
            self.refuse(line, fault)
        return not fault

    def refuse(self, line: RatingLine, reason: str) -> None:
        self.bad.append(BadLine(str(self.path), line.line, reason))

    def image_of(self, line: RatingLine) -> Image:
        return next(image for image, prompt in self.found[line.image_path] if _fits(line, prompt))

    def criterion_of(self, line: RatingLine) -> Criterion:
        return self.criteria[line.criterion or next(iter(self.criteria))]

    def _fault(self, line: RatingLine) -> str:
        images = self.found[line.image_path]
        if not images:
            return f"{line.image_path} is no image of this workspace; `curate import` it first"
        if not any(_fits(line, prompt) for _, prompt in images):
            prompt = images[0][1]
            return (
                f"rated as {line.modality}: {line.prompt!r}, but the workspace has the image as "
                f"{prompt.modality}: {prompt.text!r}"
            )
        if line.criterion and line.criterion not in self.criteria:
            return f"criterion {line.criterion!r}; known: {', '.join(self.criteria)}"
        if line.purpose and line.purpose not in PURPOSES:
            return f"purpose {line.purpose!r}; known: {', '.join(PURPOSES)}"
        low, high = self.criterion_of(line).min_value, self.criterion_of(line).max_value
        if not low <= line.rating <= high:
            return f"rating {line.rating}; needed: {low} to {high}"
        return self._fault_of_a_second(line)

    def _fault_of_a_second(self, line: RatingLine) -> str:
        key = (line.campaign, line.rater, line.image_path, line.criterion, line.purpose)
        first = self.first_line.setdefault(key, line.line)
        if first != line.line:
            return f"{line.rater} rates {line.image_path} again; line {first} did"
        return ""


def _fits(line: RatingLine, prompt: Prompt) -> bool:
    """Whether the line was given for this prompt; what it leaves out fits every one."""
    asked = canonical_modality(line.modality) or line.modality.strip()
    modality_fits = not asked or asked == prompt.modality
    wanted = " ".join(line.prompt.split()).casefold()
    known = " ".join(prompt.text.split()).casefold()
    return modality_fits and (not wanted or wanted == known or wanted.endswith(f": {known}"))


def _take(
    ws: Workspace, path: Path, name: str, lines: Sequence[RatingLine], sorter: _Sorter
) -> Taken:
    campaign = queries.campaigns.find_campaign(ws.session, name) or _new_campaign(ws, name, lines)
    looks, positions = _looks(ws, campaign)
    raters = _Raters(ws)
    added: list[Assignment] = []
    taking: list[tuple[RatingLine, UUID]] = []
    for line in lines:
        look = (line.rater, sorter.image_of(line).id, line.purpose or "train")
        fault = _misfit(campaign, line, look, looks) or raters.fault(line)
        if fault:
            sorter.refuse(line, fault)
            continue
        if look not in looks:
            assignment = Assignment(
                campaign_id=campaign.id,
                rater_id=raters.id_of(line),
                image_id=look[1],
                position=positions[line.rater],
                purpose=look[2],
                selection_method="file",
            )
            positions[line.rater] += 1
            looks[look] = assignment.id
            added.append(assignment)
        taking.append((line, looks[look]))
    queries.campaigns.add_assignments(ws.session, added)
    answers = [
        _answer(line, assignment_id, sorter.criterion_of(line), path)
        for line, assignment_id in taking
    ]
    return take_answers(ws, campaign, answers)


def _new_campaign(ws: Workspace, name: str, lines: Sequence[RatingLine]) -> Campaign:
    rubric, _ = queries.campaigns.default_rubric(ws.session)
    verdicts_of_image = Counter(line.image_path for line in lines)
    campaign = Campaign(
        name=name,
        rubric_id=rubric.id,
        seed=0,
        overlap=max(verdicts_of_image.values()),
        simulated=lines[0].simulated,
        backend=FILE_BACKEND,
    )
    return queries.campaigns.add_campaign(ws.session, campaign, [])


def _looks(ws: Workspace, campaign: Campaign) -> tuple[Looks, Counter[str]]:
    """Return the campaign's assignments by what they are, and how many each rater has."""
    views = queries.campaigns.assignments(ws.session, campaign.id)
    looks = {(view.rater, view.image_id, view.purpose): view.id for view in views}
    return looks, Counter(view.rater for view in views)


def _misfit(campaign: Campaign, line: RatingLine, look: tuple[str, UUID, str], looks: Looks) -> str:
    if line.simulated != campaign.simulated:
        kind = "simulated raters" if campaign.simulated else "people"
        return f"campaign {campaign.name!r} is of {kind}; give another one with --campaign"
    if look not in looks and campaign.backend != FILE_BACKEND:
        return f"campaign {campaign.name!r} did not ask {line.rater} about this image"
    return ""


class _Raters:
    """The raters' rows by name, added as lines name them."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.known = {rater.name: rater for rater in queries.campaigns.raters(ws.session)}

    def fault(self, line: RatingLine) -> str:
        rater = self.known.get(line.rater)
        if rater is None or (rater.expert_level, rater.simulated) == _kind(line):
            return ""
        simulated = ", simulated" if rater.simulated else ""
        return f"{line.rater} is known as level {rater.expert_level}{simulated}, not as in the file"

    def id_of(self, line: RatingLine) -> UUID:
        if line.rater not in self.known:
            level, simulated = _kind(line)
            self.known[line.rater] = queries.campaigns.get_or_add_rater(
                self.ws.session,
                name=line.rater,
                expert_level=level,
                simulated=simulated,
                config={},
            )
        return self.known[line.rater].id


def _kind(line: RatingLine) -> tuple[int, bool]:
    return line.expert_level, line.simulated


def _answer(line: RatingLine, assignment_id: UUID, criterion: Criterion, path: Path) -> Answer:
    return Answer(
        task_uid=str(assignment_id),
        rater=line.rater,
        criterion=criterion.name,
        value=line.rating,
        source_uid=f"{path.name}:{line.line}",
        rated_at=line.rated_at,
    )
