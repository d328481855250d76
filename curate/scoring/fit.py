"""Ratings and comparisons -> a fitted reward model -> its row, with the ratings that made it.

Shapes: N images, R ratings, C comparisons, S references.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from uuid import UUID, uuid5

import torch

from curate.errors import CurateError, unknown_campaign
from curate.progress import progress
from curate.samples.features import features_of
from curate.samples.spoiling import spoiled_file
from curate.scoring.conditioning import conditioning_features
from curate.tracking import tracking
from curate.verified import verified_path
from curate.workspace import Workspace
from db import queries
from db.folders import unfinished_folder
from db.hashing import json_hash
from db.models import Image, Prompt
from db.models import RewardModel as RewardModelRow
from db.queries.images import PromptedImage
from db.queries.ratings import ComparisonView, RatingView, content_of, goodness
from rewards.backbones import Backbone, load_backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from rewards.ratings import Comparisons, RatedImages, References

# What calibration, gates, controls and repeats say is kept for measuring.
PURPOSES = ("train",)
TOP_LEVEL = 3  # a specialist's rating weighs 1 in the loss, a trainee's a third
ROLES = ("reward", "judge")
REFERENCE_SPLITS = ("train", None)
PREFERENCE = {"left": 1.0, "tie": 0.5, "right": 0.0}  # how much the left image is better
OPPOSITE = {"left": "right", "tie": "tie", "right": "left"}
REFERENCES_A_PROMPT, MAX_REFERENCES = 40, 600  # more tell findings apart little better, and cost
MOST_LOOKED_AT = 20_000  # real images, among which references are looked for

Reference = tuple[Image, Prompt]


@dataclass(frozen=True)
class Answers:
    """What a reward model is fitted to, in a fixed order."""

    ratings: Sequence[RatingView]
    comparisons: Sequence[ComparisonView]
    num_left_out: int = 0  # simulated answers, which do not count beside people's
    notes: tuple[str, ...] = ()  # which version of a rubric they are to, where others were left out

    @property
    def all(self) -> list[RatingView | ComparisonView]:
        """Return both in one list."""
        return [*self.ratings, *self.comparisons]

    @property
    def raters(self) -> set[str]:
        """Return everybody who answered."""
        return {view.rater for view in self.all}

    @property
    def simulated(self) -> bool:
        """Return whether any answer is a network's."""
        return any(view.simulated for view in self.all)

    def which_count(self) -> str:
        """Say whose answers count, where people and simulated raters have answered."""
        return (
            f"{len(self.all):,} answers by people count; {self.num_left_out:,} by simulated raters "
            "do not: where people have rated, theirs alone are learned from"
        )


def train_reward(
    ws: Workspace,
    config: RewardConfig | None = None,
    *,
    role: str = "reward",
    campaigns: Sequence[str] = (),
    raters: Sequence[str] = (),
    criteria: Sequence[str] = (),
    backbone: Backbone | None = None,
) -> RewardModelRow:
    """Fit a reward model to the answers that count and keep it; return its row, metrics included.

    The same answers and settings give the row that is there already. A judge takes the answers of
    raters, and a backbone, that no reward model has; their answers then train no reward model.
    Raises CurateError or RewardError when the answers do not do.
    """
    if role not in ROLES:
        raise ValueError(f"role {role!r}; known: {ROLES}")
    config = config or RewardConfig()
    answers = answers_to_train_on(
        ws,
        role=role,
        campaigns=campaigns,
        raters=raters,
        criteria=criteria,
        enough=config.min_ratings,
    )
    if answers.num_left_out and len(answers.all) < config.min_ratings:
        raise CurateError(
            f"{answers.which_count()}. A reward model needs {config.min_ratings}: ask people about "
            "more images with `curate rate push`, or name the simulated raters to learn from with "
            "--rater."
        )
    if role == "judge":
        _check_apart(ws, answers, config)
    references = [] if role == "judge" else references_for(ws, answers)
    made_with = {**config.to_json(), **_hashes_of(ws, answers, references)}
    before = made_with | _hashes_by_id(answers)
    for known in queries.reward_models.reward_models(ws.session, role):
        if known.config in (made_with, before):
            return known
    backbone = backbone or load_backbone(config.backbone)
    rated = _rated_images(ws, answers, backbone, references)
    model = RewardModel(backbone, config)
    with progress(model.num_fits(rated), "fits of the reward model") as advance:
        model.fit(rated, tell=advance)
    row = _keep(ws, model, answers, role, made_with, len(references))
    with tracking(ws, "train-reward", row.id, made_with) as tracked:
        for point in row.metrics["learning_curve"]:
            tracked.log(
                point["num_images"], {f"curve/{n}": v for n, v in point.items()}, of="curve"
            )
        tracked.log(
            row.num_ratings, {f"held_out/{n}": v for n, v in row.metrics["held_out"].items()}
        )
        tracked.result(row.id)
    return row


def _hashes_of(ws: Workspace, answers: Answers, references: Sequence[Reference]) -> dict[str, str]:
    hashes = answers_hashes(ws, answers.ratings, answers.comparisons)
    if references:
        hashes["references_sha256"] = json_hash(
            [[image.file_sha256, prompt.id] for image, prompt in references]
        )
    return hashes


def answers_hashes(
    ws: Workspace, ratings: Sequence[RatingView], pairs: Sequence[ComparisonView]
) -> dict[str, str]:
    """Hash what was answered about which images: equal answers, whatever their rows' ids."""
    ends = {end for view in pairs for end in (view.left_image_id, view.right_image_id)}
    shown = {
        image.image_id: [image.file_sha256, image.prompt_id]
        for image in queries.images.prompted_images(ws.session, sorted(ends))
    }
    rated = [content_of(view) for view in ratings]
    hashes = {"ratings_sha256": json_hash(sorted(rated, key=repr))}
    if pairs:
        compared = [
            [shown[v.left_image_id], shown[v.right_image_id], v.rater, v.expert_level]
            + [v.criterion, v.preferred if v.polarity == "higher" else OPPOSITE[v.preferred]]
            for v in pairs
        ]
        hashes["comparisons_sha256"] = json_hash(sorted(compared, key=repr))
    return hashes


def _hashes_by_id(answers: Answers) -> dict[str, str]:
    """Hash the answers' ids, as the settings of reward models of 0.2.0 do."""
    hashes = {"ratings_sha256": json_hash(sorted(str(v.rating_id) for v in answers.ratings))}
    if answers.comparisons:
        pairs = sorted(str(view.comparison_id) for view in answers.comparisons)
        hashes["comparisons_sha256"] = json_hash(pairs)
    return hashes


def load_reward_model(
    ws: Workspace, name: str = queries.reward_models.LATEST, *, backbone: Backbone | None = None
) -> RewardModel:
    """Open a kept reward model by the beginning of its id, or the latest that is no judge."""
    row = queries.reward_models.find_reward_model(ws.session, name)
    return RewardModel.load(verified_path(ws, row.file_sha256), backbone)


def ratings_to_train_on(
    ws: Workspace,
    *,
    role: str = "reward",
    campaigns: Sequence[str] = (),
    raters: Sequence[str] = (),
) -> Sequence[RatingView]:
    """Return the ratings among `answers_to_train_on`."""
    return answers_to_train_on(ws, role=role, campaigns=campaigns, raters=raters).ratings


def answers_to_train_on(
    ws: Workspace,
    *,
    role: str = "reward",
    campaigns: Sequence[str] = (),
    raters: Sequence[str] = (),
    criteria: Sequence[str] = (),
    enough: int = RewardConfig.min_ratings,
) -> Answers:
    """Return the ratings and comparisons to fit to: of people, where people have answered.

    Kept for measuring and left out: calibration, gates, controls and repeats, and for a reward
    model the raters of a judge. `campaigns`, `raters` and `criteria` narrow the choice. Of a
    rubric's versions the newest counts that has `enough` answers.
    """
    known = {row.name: row.id for row in queries.campaigns.campaigns(ws.session)}
    for name in campaigns:
        if name not in known:
            raise unknown_campaign(name, list(known))
    wanted = {known[name] for name in campaigns}
    others = queries.reward_models.raters_behind(
        ws.session, "judge" if role == "reward" else "reward"
    )
    reserved = set() if raters else others

    def counts(view: RatingView | ComparisonView) -> bool:
        return (
            (not wanted or view.campaign_id in wanted)
            and (not raters or view.rater in raters)
            and (not criteria or view.criterion in criteria)
            and view.rater not in reserved
        )

    named = bool(wanted or raters)  # a machine's answers count for who asks for them by name
    rated = queries.ratings.current_ratings(
        ws.session, purposes=PURPOSES, spoiled=True, machines=named
    )
    ratings = list(filter(counts, rated))
    compared = queries.ratings.current_comparisons(ws.session, PURPOSES, machines=named)
    pairs = list(filter(counts, compared))
    found = Answers(ratings, pairs)
    if not all(view.simulated for view in found.all):
        ratings = [view for view in ratings if not view.simulated]
        pairs = [view for view in pairs if not view.simulated]
    num_left_out = len(found.all) - len(ratings) - len(pairs)
    chosen, notes = _newest_versions(ws, [*ratings, *pairs], enough)
    ratings = [view for view in ratings if view.campaign_id in chosen]
    pairs = [view for view in pairs if view.campaign_id in chosen]
    scales = {(view.min_value, view.max_value) for view in ratings}
    if len(scales) > 1:
        asked = {(view.criterion, view.min_value, view.max_value) for view in ratings}
        shown = ", ".join(f"{name} {low}..{high}" for name, low, high in sorted(asked))
        raise CurateError(
            f"Ratings on several scales ({shown}), but a reward model answers on one. Choose "
            "criteria of one scale with --criterion, or campaigns with --campaign."
        )
    ratings.sort(key=lambda v: (v.file_sha256, v.prompt_id, v.rater, v.rated_at, str(v.rating_id)))
    return Answers(ratings, pairs, num_left_out, tuple(notes))


def _newest_versions(
    ws: Workspace, views: Sequence[RatingView | ComparisonView], enough: int
) -> tuple[set[UUID], list[str]]:
    """Return the campaigns of each rubric's newest version with enough answers, and what goes.

    Where no version has enough, the one with most counts: the fit then says what is missing.
    """
    rubrics = queries.campaigns.rubrics_of_campaigns(ws.session)
    num = Counter((rubrics[v.campaign_id].name, rubrics[v.campaign_id].version) for v in views)
    chosen: set[tuple[str, int]] = set()
    notes = []
    for name in sorted({name for name, _ in num}):
        versions = sorted(version for of, version in num if of == name)
        with_enough = [version for version in versions if num[name, version] >= enough]
        newest = with_enough[-1] if with_enough else max(versions, key=lambda v: num[name, v])
        chosen.add((name, newest))
        notes += [
            f"rubric {name!r}: version {newest} counts ({num[name, newest]:,} answers); "
            f"{num[name, version]:,} answers to version {version} are left out"
            for version in versions
            if version != newest
        ]
    of_them = {c for c, rubric in rubrics.items() if (rubric.name, rubric.version) in chosen}
    return of_them, notes


def _check_apart(ws: Workspace, answers: Answers, config: RewardConfig) -> None:
    """A judge that shares raters or backbone with a reward measures what it was trained for."""
    shared = answers.raters & queries.reward_models.raters_behind(ws.session, "reward")
    if shared:
        raise CurateError(
            f"Reward models were fitted to ratings of {', '.join(sorted(shared))}. A judge needs "
            "other raters: name them with --rater, or ask some with `curate rate push`."
        )
    rewards = queries.reward_models.reward_models(ws.session, "reward")
    if config.backbone in {model.backbone for model in rewards}:
        raise CurateError(
            f"Backbone {config.backbone!r} is under a reward model already. A judge needs another: "
            "--backbone features, or one of torchvision's."
        )


def references_for(ws: Workspace, answers: Answers) -> list[Reference]:
    """Return real images that were imported with a caption: what they show is what it says.

    Held-out ones stay out, and so does every patient of whom an image was rated: a reference would
    tell the cross-validation about an image that is held out. Of many, so many of each prompt.
    """
    shown = _shown(ws, answers)
    patients = {image.patient for image in shown} - {None}
    files = {image.file_sha256 for image in shown}
    modalities = {image.modality for image in shown}
    num_of: Counter[str] = Counter()
    found: list[Reference] = []
    for image, prompt in queries.images.real_images(
        ws.session, splits=REFERENCE_SPLITS, limit=MOST_LOOKED_AT
    ):
        new = image.file_sha256 not in files and image.patient not in patients
        if (
            new
            and prompt.modality in modalities
            and num_of[prompt.id] < REFERENCES_A_PROMPT
            and len(found) < MAX_REFERENCES
        ):
            num_of[prompt.id] += 1
            found.append((image, prompt))
    return found


def _references(ws: Workspace, backbone: Backbone, references: Sequence[Reference]) -> References:
    if not references:
        return References()
    return References(
        features_SD=features_of(ws, backbone, [image.file_sha256 for image, _ in references]),
        modalities=[prompt.modality for _, prompt in references],
        texts=[prompt.text for _, prompt in references],
    )


def _shown(ws: Workspace, answers: Answers) -> list[PromptedImage]:
    """Return all images of the answers, as they were shown."""
    pairs = answers.comparisons
    ids = dict.fromkeys(view.image_id for view in answers.ratings if view.spoiled is None)
    ids |= dict.fromkeys(end for view in pairs for end in (view.left_image_id, view.right_image_id))
    spoiled = {_seen_as(v): (v.image_id, v.spoiled) for v in answers.ratings if v.spoiled}
    whole = queries.images.prompted_images(
        ws.session, [image_id for image_id, _ in spoiled.values()]
    )
    return queries.images.prompted_images(ws.session, list(ids)) + [
        replace(image, image_id=seen_as, file_sha256=spoiled_file(ws, image.file_sha256, how))
        for image, (seen_as, (_, how)) in zip(whole, spoiled.items(), strict=True)
    ]


def _seen_as(view: RatingView) -> UUID:
    """Return which image a rating is about: a spoiled one is another than the one it was."""
    return view.image_id if view.spoiled is None else uuid5(view.image_id, view.spoiled)


def _rated_images(
    ws: Workspace, answers: Answers, backbone: Backbone, references: Sequence[Reference]
) -> RatedImages:
    ratings, pairs = answers.ratings, answers.comparisons
    shown = _shown(ws, answers)
    keys = list(dict.fromkeys((image.file_sha256, image.prompt_id) for image in shown))
    number = {key: place for place, key in enumerate(keys)}
    place = {image.image_id: number[image.file_sha256, image.prompt_id] for image in shown}
    seen = list({place[image.image_id]: image for image in reversed(shown)}.items())
    images = [image for _, image in sorted(seen, key=lambda entry: entry[0])]
    criteria = sorted({view.criterion for view in answers.all})
    low, high = (ratings[0].min_value, ratings[0].max_value) if ratings else (1, 3)
    return RatedImages(
        features_ND=features_of(ws, backbone, [image.file_sha256 for image in images]),
        modalities=[image.modality for image in images],
        texts=[image.text for image in images],
        prompts=[image.prompt_id for image in images],
        patients=[image.patient for image in images],
        labels=[image.label for image in images],
        image_R=_longs(place[_seen_as(view)] for view in ratings),
        grade_R=_longs(goodness(view) - low for view in ratings),
        raters=[view.rater for view in ratings],
        weight_R=torch.tensor([view.expert_level / TOP_LEVEL for view in ratings]),
        values=range(low, high + 1),
        criteria=criteria,
        criterion_R=_longs(criteria.index(view.criterion) for view in ratings),
        comparisons=Comparisons(
            left_C=_longs(place[view.left_image_id] for view in pairs),
            right_C=_longs(place[view.right_image_id] for view in pairs),
            preference_C=torch.tensor(  # of a defect, more is worse
                [
                    PREFERENCE[v.preferred if v.polarity == "higher" else OPPOSITE[v.preferred]]
                    for v in pairs
                ]
            ),
            raters=[view.rater for view in pairs],
            weight_C=torch.tensor([view.expert_level / TOP_LEVEL for view in pairs]),
            criterion_C=_longs(criteria.index(view.criterion) for view in pairs),
        ),
        references=_references(ws, backbone, references),
        given=conditioning_features(
            ws, backbone, [(image.file_sha256, image.prompt_id) for image in images]
        ),
    )


def _longs(values: Iterable[int]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.long)


def _keep(
    ws: Workspace,
    model: RewardModel,
    answers: Answers,
    role: str,
    made_with: dict[str, object],
    num_references: int,
) -> RewardModelRow:
    with unfinished_folder(ws.cache / "unfinished", "reward-") as aside:
        model.save(path := aside / "reward.safetensors")
        [sha256] = queries.files.add_files(
            ws.session, ws.store, [(path.read_bytes(), "application/x-safetensors")]
        )
    assert model.quality_ is not None  # fitted just now
    ratings, pairs = answers.ratings, answers.comparisons
    images = {view.image_id for view in ratings}
    images |= {end for view in pairs for end in (view.left_image_id, view.right_image_id)}
    row = RewardModelRow(
        id=json_hash([sha256, role, made_with]),
        role=role,
        backbone=model.config.backbone,
        file_sha256=sha256,
        simulated=answers.simulated,
        num_ratings=len(answers.ratings),
        config=made_with,
        metrics={
            **model.quality_.by_kind(),
            "held_out_by": model.held_out_by_,
            "num_raters": len(answers.raters),
            "num_images": len(images),
            "num_comparisons": len(pairs),
            "num_references": num_references,
            "raters": [asdict(habits) for habits in model.raters_],
            "notes": [
                *([answers.which_count()] if answers.num_left_out else []),
                *answers.notes,
                *model.notes_,
            ],
        },
    )
    about = {"reward_model": row.id, "role": role}
    queries.audit.add_result(ws.session, "train-reward", about, {})
    uses = dict.fromkeys((view.rating_id for view in answers.ratings), "fitted")
    return queries.reward_models.add_reward_model(ws.session, row, uses)
