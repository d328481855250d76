"""Ratings from and to MINIM's CSV.

A file's lines become answers in the campaign named in its column `campaign`, else after the file.
What is in the workspace already adds nothing, a changed value is the next revision.
"""

import hashlib
import mimetypes
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from annotation.base import SCALE
from annotation.csv_file import BadLine, CsvBackend, RatingLine, read_ratings, write_ratings
from curate.modalities import canonical_modality
from curate.rating.answers import Taken, find_campaign
from curate.rating.pull import pull_campaign
from curate.rating.send import push_campaign
from curate.workspace import Workspace
from db import queries
from db.models import PURPOSES, Assignment, Campaign, Criterion, Image, Prompt, Rubric
from db.queries.ratings import RatingView, goodness

FILE_BACKEND = "csv"  # a campaign that a file brought; a later file may add to it

Refused = tuple[RatingLine, str]  # and why
PromptedImages = Mapping[str, Sequence[tuple[Image, Prompt]]]  # by image_path as written


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
    is its SHA-256. `rater` names who gave the ratings of a file that does not say; without it there
    is one rater a level, and a second verdict of that level on an image is refused.
    """
    lines, bad = read_ratings(path)
    versions = [queries.campaigns.default_rubric(ws.session, number) for number in (1, 2)]
    criteria = [criterion for _, own in versions for criterion in own]
    lines = [replace(line, campaign=line.campaign or campaign or path.stem) for line in lines]
    by_campaign, refused = _sorted_out(lines, _images_of(ws, path, lines), criteria, rater)
    taken = Taken()
    for name, own in by_campaign.items():
        row = queries.campaigns.find_campaign(ws.session, name)
        if row is None:
            num_verdicts = Counter(line.image_path for line, _ in own)
            # a single rating is version 1's; several criteria are version 2's
            of_first = {criterion.name for criterion in versions[0][1]}
            rubric, _ = versions[0 if all(_asks(line) <= of_first for line, _ in own) else 1]
            new = Campaign(
                name=name,
                rubric_id=rubric.id,
                seed=0,
                overlap=max(num_verdicts.values()),
                simulated=own[0][0].simulated,
                backend=FILE_BACKEND,
            )
            row = queries.campaigns.add_campaign(ws.session, new, [])
        own, unasked = _of_rubric(ws, row, own)
        lines_of_task, not_asked = _assigned(ws, row, own)
        refused += unasked + not_asked
        backend = CsvBackend(path.name, {str(task): own for task, own in lines_of_task.items()})
        names = queries.campaigns.shown_names(ws.session, row)
        addresses = {
            (task, name): own[0].image_path for task, own in lines_of_task.items() for name in names
        }
        push_campaign(ws, row, backend, addresses, among=lines_of_task)
        taken += pull_campaign(ws, row, backend).taken
    bad += [BadLine(str(path), line.line, fault) for line, fault in refused]
    there = {"ratings": taken.new + taken.revised + taken.unchanged}
    queries.audit.record_result(ws.session, "rate import", queries.audit.file_named(path), there)
    return Imported(tuple(by_campaign), taken, tuple(sorted(bad, key=lambda line: line.line)))


def export_ratings(ws: Workspace, path: Path, *, campaign: str | None = None) -> int:
    """Write all current ratings, or one campaign's, and their images beside the file.

    The images lie in a folder named after the file, under their SHA-256. Returns how many ratings.
    """
    campaign_id = None if campaign is None else find_campaign(ws, campaign).id
    views = queries.ratings.current_ratings(ws.session, campaign_id=campaign_id, machines=True)
    folder = path.with_name(f"{path.stem}-images")
    folder.mkdir(parents=True, exist_ok=True)
    sha256s = sorted({view.file_sha256 for view in views})
    types = queries.files.media_types(ws.session, sha256s)
    paths = {}
    for sha256 in sha256s:
        name = f"{sha256}{mimetypes.guess_extension(types[sha256]) or ''}"
        (folder / name).write_bytes(ws.store.get(sha256))
        paths[sha256] = f"{folder.name}/{name}"
    campaigns = {row.id: row.name for row in queries.campaigns.campaigns(ws.session)}
    asked = {
        row.id: queries.campaigns.criteria_of(ws.session, row.rubric_id)
        for row in queries.campaigns.campaigns(ws.session)
    }
    several = {name for name, own in asked.items() if sum(c.kind == SCALE for c in own) > 1}
    looks: dict[tuple[object, ...], list[RatingView]] = {}
    for view in views:  # one line a look where it answered several criteria
        look = (view.campaign_id, view.rater, view.image_id, view.purpose)
        key = look if view.campaign_id in several else (view.rating_id,)
        looks.setdefault(key, []).append(view)
    lines = []
    for own in looks.values():
        weakest, of_several = min(own, key=goodness), own[0].campaign_id in several
        lines.append(
            RatingLine(
                image_path=paths[weakest.file_sha256],
                rating=goodness(weakest) if of_several else weakest.value,
                modality=weakest.modality,
                expert_level=weakest.expert_level,
                prompt=weakest.text,
                rater=weakest.rater,
                simulated=weakest.simulated,
                criterion="" if of_several else weakest.criterion,
                purpose=weakest.purpose,
                campaign=campaigns[weakest.campaign_id],
                rated_at=max(view.rated_at for view in own),
                criteria={view.criterion: view.value for view in own} if of_several else {},
            )
        )
    return write_ratings(path, lines, sorted({name for line in lines for name in line.criteria}))


def _images_of(ws: Workspace, path: Path, lines: Sequence[RatingLine]) -> PromptedImages:
    """Return the images that each image_path may mean."""
    hashes = {}
    for name in sorted({line.image_path for line in lines}):
        hashes[name] = Path(name).stem
        if (path.parent / name).is_file():
            with (path.parent / name).open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    by_hash = queries.images.images_of_files(ws.session, list(hashes.values()))
    by_path = queries.images.images_of_source_paths(ws.session, list(hashes))
    return {name: by_hash.get(hashes[name]) or by_path.get(name, []) for name in hashes}


def _asks(line: RatingLine) -> set[str]:
    """Return the criteria that a line answers by name."""
    return set(line.criteria) or ({line.criterion} if line.criterion else set())


def _of_rubric(
    ws: Workspace, campaign: Campaign, lines: Sequence[tuple[RatingLine, Image]]
) -> tuple[list[tuple[RatingLine, Image]], list[Refused]]:
    """Return the lines that answer what the campaign asked, and the others with why they do not."""
    rubric = ws.session.get_one(Rubric, campaign.rubric_id)
    names = [c.name for c in queries.campaigns.criteria_of(ws.session, rubric.id)]
    takes_one = len(names) == 1 or rubric.name != queries.campaigns.DEFAULT_NAME
    good, refused = [], []
    for line, image in lines:
        if _asks(line) <= set(names) and (_asks(line) or takes_one):
            good.append((line, image))
        else:
            fault = (
                f"campaign {campaign.name!r} asked about {', '.join(names)} (rubric "
                f"{rubric.name!r}, version {rubric.version}); give another one with --campaign"
            )
            refused.append((line, fault))
    return good, refused


def _sorted_out(
    lines: Sequence[RatingLine],
    images: PromptedImages,
    criteria: Sequence[Criterion],
    rater: str | None,
) -> tuple[dict[str, list[tuple[RatingLine, Image]]], list[Refused]]:
    """Return each campaign's lines, all raters named, with their images; and the others."""
    first_lines: dict[tuple[str, ...], int] = {}
    by_campaign: dict[str, list[tuple[RatingLine, Image]]] = defaultdict(list)
    refused: list[Refused] = []
    for line in lines:
        is_nameless = not (line.rater or rater)
        level = f"{line.campaign}/level-{line.expert_level}/1"
        line = replace(line, purpose=line.purpose or "train", rater=line.rater or rater or level)
        fault = _fault(line, images[line.image_path], criteria)
        if not fault:
            key = (line.campaign, line.rater, line.image_path, line.criterion, line.purpose)
            first = first_lines.setdefault(key, line.line)
            if first != line.line and is_nameless:
                fault = (
                    f"{line.image_path} is rated again at level {line.expert_level}, as in line "
                    f"{first}, and the file does not say by whom: give it a column rater, or name "
                    "who rated with --rater"
                )
            elif first != line.line:
                fault = f"{line.rater} rates {line.image_path} again; line {first} did"
        if fault:
            refused.append((line, fault))
        else:
            fitting = (image for image, prompt in images[line.image_path] if _fits(line, prompt))
            by_campaign[line.campaign].append((line, next(fitting)))
    return by_campaign, refused


def _fault(
    line: RatingLine, images: Sequence[tuple[Image, Prompt]], criteria: Sequence[Criterion]
) -> str:
    """Return why a line cannot be taken, whatever was asked; empty when it can."""
    if not images:
        return f"{line.image_path} is no image of this workspace; `curate import` it first"
    if not any(_fits(line, prompt) for _, prompt in images):
        prompt = images[0][1]
        return (
            f"rated as {line.modality}: {line.prompt!r}, but the workspace has the image as "
            f"{prompt.modality}: {prompt.text!r}"
        )
    known = {criterion.name: criterion for criterion in criteria}
    if line.criterion and line.criterion not in known:
        return f"criterion {line.criterion!r}; known: {', '.join(known)}"
    if line.purpose not in PURPOSES:
        return f"purpose {line.purpose!r}; known: {', '.join(PURPOSES)}"
    if line.criteria:
        unknown = [name for name in line.criteria if name not in known]
        if unknown:
            return f"criterion {unknown[0]!r}; known: {', '.join(known)}"
        for name, value in line.criteria.items():
            if not known[name].min_value <= value <= known[name].max_value:
                low, high = known[name].min_value, known[name].max_value
                return f"{name} {value}; needed: {low} to {high}"
        weakest = min(line.criteria.values())
        return (
            ""
            if line.rating == weakest
            else f"rating {line.rating}, but the weakest of its criteria is {weakest}"
        )
    criterion = known[line.criterion] if line.criterion else criteria[0]
    if not criterion.min_value <= line.rating <= criterion.max_value:
        return f"rating {line.rating}; needed: {criterion.min_value} to {criterion.max_value}"
    return ""


def _fits(line: RatingLine, prompt: Prompt) -> bool:
    """Whether the line was given for this prompt; what it leaves out fits every one."""
    asked = canonical_modality(line.modality) or line.modality.strip()
    modality_fits = not asked or asked == prompt.modality
    wanted = " ".join(line.prompt.split()).casefold()
    known = " ".join(prompt.text.split()).casefold()
    return modality_fits and (not wanted or wanted == known or wanted.endswith(f": {known}"))


def _assigned(
    ws: Workspace, campaign: Campaign, lines: Sequence[tuple[RatingLine, Image]]
) -> tuple[dict[UUID, list[RatingLine]], list[Refused]]:
    """Return the lines by the assignment that each answers, added where a file may add; the others
    with why there is none."""
    views = queries.campaigns.assignments(ws.session, campaign.id)
    assigned = {(view.rater, view.image_id, view.purpose): view.id for view in views}
    positions = Counter(view.rater for view in views)
    raters = {rater.name: rater for rater in queries.campaigns.raters(ws.session)}
    added: list[Assignment] = []
    lines_of_task: dict[UUID, list[RatingLine]] = defaultdict(list)
    refused: list[Refused] = []
    for line, image in lines:
        look, known = (line.rater, image.id, line.purpose), raters.get(line.rater)
        if line.simulated != campaign.simulated:
            kind = "simulated raters" if campaign.simulated else "people"
            fault = f"campaign {campaign.name!r} is of {kind}; give another one with --campaign"
            refused.append((line, fault))
            continue
        if look not in assigned and campaign.backend != FILE_BACKEND:
            fault = f"campaign {campaign.name!r} did not ask {line.rater} about this image"
            refused.append((line, fault))
            continue
        if known and (known.expert_level, known.simulated) != (line.expert_level, line.simulated):
            level = f"level {known.expert_level}{', simulated' if known.simulated else ''}"
            refused.append((line, f"{line.rater} is known as {level}, not as in the file"))
            continue
        if look not in assigned:
            raters[line.rater] = known or queries.campaigns.get_or_add_rater(
                ws.session,
                name=line.rater,
                expert_level=line.expert_level,
                simulated=line.simulated,
                config={},
            )
            assignment = Assignment(
                campaign_id=campaign.id,
                rater_id=raters[line.rater].id,
                image_id=image.id,
                position=positions[line.rater],
                purpose=line.purpose,
                selection_method="file",
            )
            positions[line.rater] += 1
            assigned[look] = assignment.id
            added.append(assignment)
        lines_of_task[assigned[look]].append(line)
    queries.campaigns.add_assignments(ws.session, added)
    return lines_of_task, refused
