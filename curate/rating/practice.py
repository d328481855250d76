"""Images whose answers are known -> a practice, which raters pass before a campaign.

They come from a table, from real images as they are and spoiled, or from both. A practice is made
whole or not at all and never changes; what would let a rater pass who does not look is refused.
"""

import csv
import hashlib
import itertools
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from annotation.base import ORIGIN, ORIGIN_ANSWERS, SCALE
from annotation.csv_file import OF_CRITERION
from curate.errors import CurateError
from curate.rating.config import PracticeOptions
from curate.rating.draws import draw_at_random
from curate.rating.edits import are_edits
from curate.rating.practised import num_needed
from curate.rating.rubrics import rubric_asked
from curate.samples.spoiling import SPOILINGS
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import Criterion, Image, Practice, PracticeItem, Rubric

CONTROLS = 20  # where no table of known answers is given
MOST_BY_CHANCE = 0.05  # a pass that a rater meets who answers by lot
AS_IT_IS = "A real image, as it is."
SPOILED = "A real image, spoiled ({}): no careful rater would train on it."

Known = Mapping[str, tuple[int, int]]  # {criterion: (least, most) right value}


@dataclass(frozen=True, kw_only=True)
class KnownImage:
    """An image, and the answers that are right."""

    image: Image
    known: Known
    spoiled: str | None = None
    why: str = ""


def make_practice(ws: Workspace, name: str, options: PracticeOptions) -> Practice:
    """Return the practice of this name, made first when it is new.

    Raises CurateError where its images or their answers are unknown, too few, or too easy to
    guess, and when the name stands for another practice.
    """
    table, lines = _read(options.known) if options.known else ("", [])
    by_id = queries.images.images_by_id(ws.session, [image_id for _, image_id, _ in lines])
    listed = [image for image, _ in by_id.values()]
    rubric = rubric_asked(ws, options.rubric, listed)
    asked = json_hash(
        {
            **vars(options),
            "known": table,
            "rubric": str(rubric.id),
        }
    )
    practice = queries.practices.find_practice(ws.session, name)
    if practice is not None:
        if practice.config.get("asked_sha256") != asked:
            raise CurateError(
                f"Practice {name!r} exists with other images, answers or settings. Use another "
                "name for the new one."
            )
        return practice
    criteria = queries.campaigns.criteria_of(ws.session, rubric.id)
    known = _listed(options.known, lines, by_id, criteria) if options.known else []
    controls = CONTROLS if options.num_controls is None and not known else options.num_controls
    if controls and are_edits(ws, listed):
        raise CurateError(
            "Real images have no prior to stand beside them: give known answers of edits alone, "
            "without --controls."
        )
    known += _controls(ws, controls or 0, options, {row.image.id for row in known}, criteria)
    size = len(known) if options.pass_size is None else options.pass_size
    order = _interleaved(known, options.seed)
    _check_worth(order, criteria, size, options.bar)
    return _added(ws, name, options, rubric, order, size, asked)


def _added(
    ws: Workspace,
    name: str,
    options: PracticeOptions,
    rubric: Rubric,
    order: Sequence[KnownImage],
    size: int,
    asked: str,
) -> Practice:
    practice = Practice(
        name=name,
        rubric_id=rubric.id,
        seed=options.seed,
        bar=options.bar,
        pass_size=size,
        config={"asked_sha256": asked},
    )
    items = [
        PracticeItem(
            practice_id=practice.id,
            position=position,
            image_id=row.image.id,
            spoiled=row.spoiled,
            known={criterion: list(ends) for criterion, ends in row.known.items()},
            why=row.why,
        )
        for position, row in enumerate(order)
    ]
    made = queries.practices.add_practice(ws.session, practice, items)
    queries.audit.record_result(
        ws.session, "rate practice make", {"practice": name}, {"images": len(items)}
    )
    return made


Line = tuple[int, UUID, dict[str, str]]  # its number, the image, all its cells


def _read(path: Path) -> tuple[str, list[Line]]:
    """Return the table's SHA-256 and its lines; CurateError at the first that names no image."""
    try:
        table = path.read_bytes()
        reader = csv.DictReader(table.decode("utf-8-sig").splitlines())
        rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise CurateError(f"--known {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CurateError(f"--known {path} is no CSV in UTF-8: {error}.") from error
    if "image_id" not in (reader.fieldnames or ()):
        raise CurateError(f"--known {path}: it needs a column image_id, and {OF_CRITERION}NAME.")
    found: list[Line] = []
    for number, row in rows:
        cells = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        try:
            found.append((number, UUID(cells["image_id"]), cells))
        except ValueError as error:
            said = f"{cells['image_id'][:40]!r} is no image's id"
            raise CurateError(f"{path}:{number}: {said}.") from error
    return hashlib.sha256(table).hexdigest(), found


def _listed(
    path: Path,
    lines: Sequence[Line],
    by_id: Mapping[UUID, tuple[Image, object]],
    criteria: Sequence[Criterion],
) -> list[KnownImage]:
    """Return what the table says of each image; CurateError with its first fault."""
    found, seen = [], set[tuple[UUID, str]]()
    for number, image_id, cells in lines:
        spoiled = cells.get("spoiled", "")
        fault = ""
        if image_id not in by_id:
            fault = f"{image_id} is no image of this workspace"
        elif (image_id, spoiled) in seen:
            fault = f"{image_id} stands in an earlier line already"
        elif spoiled and spoiled not in SPOILINGS:
            fault = f"spoiled {spoiled!r}; known: {', '.join(SPOILINGS)}"
        seen.add((image_id, spoiled))
        try:
            known = _known({} if fault else cells, criteria)
        except ValueError as error:
            known, fault = {}, str(error)
        if fault or not known:
            fault = fault or f"no answer is known; needed: one in a column {OF_CRITERION}NAME"
            raise CurateError(f"{path}:{number}: {fault}.")
        image = by_id[image_id][0]
        why = cells.get("why", "")
        found.append(KnownImage(image=image, known=known, spoiled=spoiled or None, why=why))
    return found


def _known(cells: Mapping[str, str], criteria: Sequence[Criterion]) -> Known:
    """Read "3" or "2-3" of each criterion's column; ValueError for what is off the scale."""
    asked = {criterion.name: criterion for criterion in criteria}
    found = {}
    for column, text in cells.items():
        if not column.startswith(OF_CRITERION) or not text:
            continue
        name = column.removeprefix(OF_CRITERION)
        if name not in asked:
            raise ValueError(f"no criterion {name!r}; known: {', '.join(asked)}")
        criterion = asked[name]
        if criterion.kind == ORIGIN and text in ORIGIN_ANSWERS:
            text = str(1 + ORIGIN_ANSWERS.index(text))
        low, _, high = text.partition("-")
        least, most = criterion.min_value, criterion.max_value
        is_whole = low.isdecimal() and (high or low).isdecimal()
        if not is_whole or not least <= int(low) <= int(high or low) <= most:
            raise ValueError(f"{name} {text!r}; needed: {least} to {most}, or a range of these")
        found[name] = (int(low), int(high or low))
    return found


def _controls(
    ws: Workspace,
    count: int,
    options: PracticeOptions,
    taken: set[UUID],
    criteria: Sequence[Criterion],
) -> list[KnownImage]:
    """Draw real images that no campaign has shown, every other one spoiled.

    What is right is what `curate rate agreement` counts as right of a control: the upper half of
    each scale, its middle included, for a real image, and below it for a spoiled one. Of a spoiled
    one only the first question is judged: whether it shows what was asked may still be seen.
    """
    real = [
        image
        for image in queries.images.images_to_rate(
            ws.session, origin="real", modalities=options.modalities or None
        )
        if image.id not in taken
    ]
    if len(real) < count:
        raise CurateError(
            f"{count} controls, but {len(real)} real images that no campaign has shown. Import "
            "more, or ask for fewer with --controls."
        )
    scales = [criterion for criterion in criteria if criterion.kind == SCALE]
    drawn = list(draw_at_random(real, count, options.seed).images)
    random.Random(f"{options.seed}/practice").shuffle(drawn)
    good = {criterion.name: _half(criterion, good=True) for criterion in scales}
    bad = {criterion.name: _half(criterion, good=False) for criterion in scales[:1]}
    ways = itertools.cycle(SPOILINGS)
    return [
        KnownImage(image=image, known=bad, spoiled=(how := next(ways)), why=SPOILED.format(how))
        if place % 2
        else KnownImage(image=image, known=good, why=AS_IT_IS)
        for place, image in enumerate(drawn)
    ]


def _half(criterion: Criterion, *, good: bool) -> tuple[int, int]:
    """Return the half of a scale that is right; its middle belongs to the good one."""
    low, high = criterion.min_value, criterion.max_value
    is_low = good == (criterion.polarity == "lower")
    middle = (low + high) // 2 if criterion.polarity == "lower" else (low + high + 1) // 2
    if good:
        return (low, middle) if is_low else (middle, high)
    return (low, middle - 1) if is_low else (middle + 1, high)


def _interleaved(known: Sequence[KnownImage], seed: int) -> list[KnownImage]:
    """Return the images in an order in which every stretch has as many of each kind as another.

    A kind is what is right of an image: so no pass is of one kind alone.
    """
    chance = random.Random(f"{seed}/order")
    kinds: dict[tuple[object, ...], list[KnownImage]] = defaultdict(list)
    for row in chance.sample(known, len(known)):
        kinds[tuple(sorted(row.known.items()))].append(row)
    placed = [
        ((place + 0.5) / len(own), chance.random(), row)
        for own in kinds.values()
        for place, row in enumerate(own)
    ]
    return [row for _, _, row in sorted(placed, key=lambda entry: entry[:2])]


def _check_worth(
    order: Sequence[KnownImage], criteria: Sequence[Criterion], size: int, bar: float
) -> None:
    """Refuse a practice that may be passed by lot, or by one answer to all images."""
    if not 0 < bar <= 1:
        raise CurateError(f"--bar {bar}; needed: above 0, to 1.")
    if not 1 <= size <= len(order):
        raise CurateError(
            f"A pass of {size} images, but {len(order)} images whose answers are known. Name more "
            "with --known or --controls, or fewer a pass with --images."
        )
    needed = num_needed(bar, size)
    stretches = [
        [order[(first + step) % len(order)] for step in range(size)] for first in range(len(order))
    ]
    lucky = max(_by_lot(own, criteria, needed) for own in stretches)
    if lucky > MOST_BY_CHANCE:
        raise CurateError(
            f"{size} practice images are too few: who answers by lot meets {needed} of them with a "
            f"chance of {100 * lucky:.0f} %; at most {100 * MOST_BY_CHANCE:.0f} %. Add images, or "
            "raise --bar."
        )
    asked = [row for row in criteria if any(row.name in known.known for known in order)]
    scales = [range(row.min_value, row.max_value + 1) for row in asked]
    for values in itertools.product(*scales):
        same = {row.name: value for row, value in zip(asked, values, strict=True)}
        right = [all(low <= same[n] <= high for n, (low, high) in k.known.items()) for k in order]
        around = [*right, *right]
        if max(sum(around[first : first + size]) for first in range(len(right))) >= needed:
            said = ", ".join(f"{name} {value}" for name, value in same.items())
            raise CurateError(
                f"Who answers {said} to every image would meet the bar of {100 * bar:.0f} %. Add "
                "images with other known answers, or raise --bar."
            )


def _by_lot(own: Sequence[KnownImage], criteria: Sequence[Criterion], needed: int) -> float:
    """Return the chance that at least `needed` are right by lot: a Poisson binomial's tail."""
    sizes = {row.name: row.max_value - row.min_value + 1 for row in criteria}
    chances = [1.0]  # of 0, 1, 2 ... right so far
    for row in own:
        hit = 1.0
        for name, (low, high) in row.known.items():
            hit *= (high - low + 1) / sizes[name]
        chances = [
            before * hit + now * (1 - hit)
            for before, now in zip([0.0, *chances], [*chances, 0.0], strict=True)
        ]
    return sum(chances[needed:])
