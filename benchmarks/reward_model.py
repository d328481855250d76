"""The reward model's bars against a truth that is known: simulated raters, real and made images.

    python -m benchmarks.reward_model DATA_FOLDER POOL_FOLDER [--repetitions 20] [--only NAME]

DATA_FOLDER holds the real images (`data.csv`); POOL_FOLDER becomes a workspace with 400 images of
the embedded generator, made once (a minute on two idle cores). Half of all images are spoiled, so
that every grade is there. The eyes of the simulated raters are the truth; nothing of theirs is in
the reward model. The real images that are not in the pool, of other patients, are its references,
as an import gives them. Prints one Markdown table: figure, ceiling where there is one, bar.

The ceiling is the same model fitted to the true grades of the same images: what backbone and number
of images allow when nobody errs. Shapes: B images, R ratings, S repetitions.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from annotation.config import SimulatedRaterConfig
from annotation.simulated import SimulatedRater
from curate.evaluation.intervals import bootstrap_mean, wilson_interval
from curate.evaluation.novelty import are_far
from curate.production.plan import plan_run, settings_hash
from curate.production.run import run_plan
from curate.production.versions import embedded_version
from curate.progress import progress
from curate.prompts.plan import embedded_prompts
from curate.samples.stored import batches
from curate.workspace import init_workspace, open_workspace
from db.models import Prompt
from db.queries.runs import images_of_run
from generators.config import SamplingSettings
from rewards.backbones import Backbone, load_backbone
from rewards.config import RewardConfig
from rewards.frozen import TruthNetwork, load_eyes, load_features, train_features
from rewards.frozen.corruptions import corrupt, corrupt_one_way
from rewards.frozen.data import RealImage, central_squares, read_images
from rewards.model import RewardModel
from rewards.ratings import RatedImages, References

NUM_RATED = 300
IMAGES_A_PROMPT = 20
SETTINGS = SamplingSettings(num_steps=10, sampler="dpm++", batch_size=32)
SEVERITIES, NOISE, LAPSE = (-0.8, 0.0, 0.8), 0.35, 0.15  # in grades; lapses are uniform draws
SHARES = ((0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8))  # of the raters, by modality
ATTACK_STEPS, ATTACK_STEP, NUM_STARTS = 50, 2 / 255, 100
SPREAD_PENALTY = 1.0
LEFT_OUT = "BrainMRI"  # rated by nobody where ignorance is measured
Row = tuple[str, str, str, str]  # figure, value, ceiling, bar


@dataclass(frozen=True)
class Pool:
    """Images with what was asked for and the truth."""

    pixels_B3HW: Tensor
    modalities: Sequence[str]
    texts: Sequence[str]
    labels: Sequence[str | None]
    patients: Sequence[str | None]
    real_B: Tensor  # untouched real images
    spoiled_B: Tensor
    truth_B: Tensor
    grade_B: Tensor  # 0 .. 2
    features_BD: Tensor
    thresholds: tuple[float, ...]
    references: References
    num_real: int  # the last ones, spoiled or not

    @property
    def num_made(self) -> int:
        """How many images, the first ones, are the generator's."""
        return len(self.grade_B) - self.num_real

    def chosen(self, places: Sequence[int]) -> tuple[Tensor, list[str], list[str]]:
        """Return features, modalities and texts of some images."""
        return (
            self.features_BD[list(places)],
            [self.modalities[p] for p in places],
            [self.texts[p] for p in places],
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part of the table")
    options = parser.parse_args()
    eyes, backbone = load_eyes(), load_backbone("embedded")
    pool = build_pool(options.data, options.pool, eyes, backbone)
    shares = [float((pool.grade_B == grade).float().mean()) for grade in range(3)]
    print(f"{len(pool.grade_B)} images, true grades 1, 2, 3: {shares}", file=sys.stderr)
    print("| figure | value | ceiling | bar |\n|---|---|---|---|")
    for name, part in PARTS.items():
        if options.only in (None, name):
            for row in part(pool, backbone, options.repetitions):
                print(f"| {' | '.join(row)} |", flush=True)


def build_pool(data: Path, folder: Path, eyes: TruthNetwork, backbone: Backbone) -> Pool:
    """Return made and real images, every second one spoiled, with truth and features."""
    made, prompts = generated(folder)
    everything = [image for split in ("train", "val") for image in read_images(data, split=split)]
    real = everything[:: max(1, len(everything) // len(made))]  # as many as made ones
    texts = {(prompt.modality, prompt.label): prompt.text for prompt in prompts}
    pixels = torch.cat([made, central_squares(real)])
    modalities = [*(prompt.modality for prompt in prompts), *(image.modality for image in real)]
    labels = [*(prompt.label for prompt in prompts), *(image.label for image in real)]
    found_texts = [texts.get((m, x), str(x)) for m, x in zip(modalities, labels, strict=True)]
    spoiled = torch.arange(len(pixels)) % 2 == 1
    chance = torch.Generator().manual_seed(0)
    pixels[spoiled] = corrupt(pixels[spoiled], pixels[spoiled].roll(1, 0), chance).images
    with torch.no_grad():
        truth_B = torch.cat(
            [
                eyes.truth(part, modalities[at : at + 64], labels[at : at + 64])
                for at, part in zip(range(0, len(pixels), 64), pixels.split(64), strict=True)
            ]
        )
        features_BD = torch.cat([backbone.features(part) for part in pixels.split(64)])
    thresholds = torch.tensor(eyes.thresholds)
    return Pool(
        pixels,
        modalities,
        found_texts,
        labels,
        [*([None] * len(made)), *(image.patient for image in real)],
        (torch.arange(len(pixels)) >= len(made)) & ~spoiled,
        spoiled,
        truth_B,
        (truth_B[:, None] >= thresholds).sum(1),
        features_BD,
        eyes.thresholds,
        _references(everything, real, texts, backbone),
        len(real),
    )


def _references(
    everything: Sequence[RealImage],
    real: Sequence[RealImage],
    texts: Mapping[tuple[str, str | None], str],
    backbone: Backbone,
) -> References:
    """Return the real images of patients who are not in the pool."""
    patients = {image.patient for image in real}
    others = [image for image in everything if image.patient not in patients]
    with torch.no_grad():
        features = [backbone.features(part) for part in central_squares(others).split(64)]
    return References(
        features_SD=torch.cat(features),
        modalities=[image.modality for image in others],
        texts=[texts.get((image.modality, image.label), image.label) for image in others],
    )


def generated(folder: Path) -> tuple[Tensor, list[Prompt]]:
    """Return images of the embedded generator and their prompts; made once."""
    if not (folder / "curate.json").is_file():
        init_workspace(folder)
    with open_workspace(folder) as ws:
        prompts = embedded_prompts(ws)
        version = embedded_version(ws)
        run = plan_run(ws, version, prompts, count=IMAGES_A_PROMPT, settings=SETTINGS)
        with progress(run.num_items, "images for the benchmark") as advance:
            run_plan(ws, run, advance)
        images = images_of_run(ws.session, run, settings_hash(run.settings))
        pixels = torch.zeros(len(images), 3, 64, 64)
        for places, batch in batches(ws.store, [image.file_sha256 for image in images], 64):
            pixels[places] = batch
        by_id = {prompt.id: prompt for prompt in prompts}
        shown = [by_id[image.prompt_id] for image in images]
        ws.session.expunge_all()
    return pixels, shown


# -- several raters ------------------------------------------------------------------------------


def draw(
    pool: Pool, seed: int, *, honest: bool = False, among: Tensor | None = None
) -> tuple[list[int], RatedImages]:
    """Return which images were rated, and one rating each by one of three raters."""
    random = np.random.default_rng(seed)
    all_places = torch.arange(len(pool.grade_B)) if among is None else among.nonzero().flatten()
    places = sorted(random.choice(all_places.numpy(), NUM_RATED, replace=False).tolist())
    order = sorted(set(pool.modalities))
    raters = [
        SimulatedRater(
            SimulatedRaterConfig(name=f"r{n}", severity=shift, noise=NOISE, lapse=LAPSE, seed=seed)
        )
        for n, shift in enumerate(SEVERITIES)
    ]
    who = [random.choice(3, p=SHARES[order.index(pool.modalities[p]) % 3]) for p in places]
    grades = [
        raters[j].rate([float(pool.truth_B[p])], pool.thresholds, [str(p)], min_value=0)[0]
        for j, p in zip(who, places, strict=True)
    ]
    features, modalities, texts = pool.chosen(places)
    return places, RatedImages(
        features_ND=features,
        modalities=modalities,
        texts=texts,
        prompts=[f"{m} {t}" for m, t in zip(modalities, texts, strict=True)],
        patients=[pool.patients[p] for p in places],
        labels=[pool.labels[p] for p in places],
        image_R=torch.arange(len(places)),
        grade_R=pool.grade_B[places] if honest else torch.tensor(grades),
        raters=["truth"] * len(places) if honest else [f"r{j}" for j in who],
        weight_R=torch.ones(len(places)),
        references=pool.references,
    )


@dataclass(frozen=True)
class Against:
    """A model's scores of images it never saw, against the truth."""

    auc: float
    spearman: float
    means: tuple[float, float, float]
    ece: float


def against_truth(model: RewardModel, pool: Pool, rated: Sequence[int]) -> Against:
    """Measure on all other images; patients of rated ones stay out."""
    seen = {pool.patients[p] for p in rated} - {None}
    others = [p for p in set(range(len(pool.grade_B))) - set(rated) if pool.patients[p] not in seen]
    with torch.no_grad():
        score_B = model.predict_features(*pool.chosen(others))[0].numpy()
    grade_B, truth_B = pool.grade_B[others].numpy(), pool.truth_B[others].numpy()
    clear = grade_B != 1
    bins = np.minimum((10 * score_B).astype(int), 9)
    gaps = [
        (bins == b).mean() * abs(score_B[bins == b].mean() - (grade_B[bins == b] == 2).mean())
        for b in np.unique(bins)
    ]
    one, two, three = (float(score_B[grade_B == grade].mean()) for grade in range(3))
    return Against(
        float(roc_auc_score(grade_B[clear] == 2, score_B[clear])),
        float(spearmanr(score_B, truth_B).statistic),
        (one, two, three),
        float(sum(gaps)),
    )


def several_raters(pool: Pool, backbone: Backbone, repetitions: int) -> Iterator[Row]:
    """AUC, rank correlation and order of the means; with, and without, knowing who rated."""
    knowing, ignoring, ceiling = [], [], []
    ece, kappas, shuffled, prompts_shuffled = [], [], [], []
    for seed in range(repetitions):
        rated, table = draw(pool, seed)
        model = RewardModel(backbone, RewardConfig()).fit(table)
        knowing.append(against_truth(model, pool, rated))
        nobody = replace(table, raters=["anybody"] * len(rated))
        blind = RewardModel(backbone, RewardConfig()).fit(nobody, measured=False)
        ignoring.append(against_truth(blind, pool, rated))
        _, honest = draw(pool, seed, honest=True)
        best = RewardModel(backbone, RewardConfig()).fit(honest, measured=False)
        ceiling.append(against_truth(best, pool, rated))
        quality = model.quality_
        assert quality is not None
        ece.append(quality.known_prompts["ece"])
        kappas.append(quality.kappa)
        shuffled.append(quality.auc_images_shuffled)
        prompts_shuffled.append((quality.auc_top_or_rest, quality.auc_prompts_shuffled))
    yield _row("AUC 3 against 1", [k.auc for k in knowing], [c.auc for c in ceiling], ">= 0.90")
    yield _row(
        "rank correlation", [k.spearman for k in knowing], [c.spearman for c in ceiling], ">= 0.7"
    )
    for name in ("auc", "spearman"):
        gain = [getattr(k, name) - getattr(i, name) for k, i in zip(knowing, ignoring, strict=True)]
        yield _row(f"gain in {name} over ignoring who rated", gain, None, "interval above 0")
    ordered = sum(k.means[0] < k.means[1] < k.means[2] for k in knowing)
    means = [f"{np.mean([k.means[g] for k in knowing]):.2f}" for g in range(3)]
    yield "mean score of true 1, 2, 3", ", ".join(means), "", "ordered"
    yield "... strictly ordered", f"{ordered} of {repetitions} times", "", "always"
    yield _row("ECE on ratings left out", ece, None, "")
    yield _row("weighted kappa with a rating", kappas, None, "")
    yield _row("AUC with images shuffled", shuffled, None, "0.45-0.55")
    drop = [whole - mixed for whole, mixed in prompts_shuffled]
    yield _row("AUC lost with prompts shuffled", drop, None, "above 0")


def _row(name: str, values: Sequence[float], ceiling: Sequence[float] | None, bar: str) -> Row:
    found = bootstrap_mean(values)
    best = f"{np.mean(ceiling):.3f}" if ceiling is not None else ""
    return name, f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})", best, bar


# -- congruence, ignorance, attack ---------------------------------------------------------------


def fitted(pool: Pool, backbone: Backbone) -> tuple[list[int], RewardModel]:
    """Return the model of the first repetition and what was rated."""
    rated, table = draw(pool, 0)
    return rated, RewardModel(backbone, RewardConfig()).fit(table, measured=False)


@torch.no_grad()
def wrong_prompts(pool: Pool, backbone: Backbone, repetitions: int) -> Iterator[Row]:
    """Good images under another modality, and under another finding of their own modality."""
    rated, model = fitted(pool, backbone)
    good = [p for p in range(len(pool.grade_B)) if pool.grade_B[p] == 2 and p not in set(rated)]
    features, modalities, texts = pool.chosen(good)
    right_B, _ = model.predict_features(features, modalities, texts)
    known = sorted({(m, t) for m, t in zip(pool.modalities, pool.texts, strict=True)})
    lower = total = 0
    for offset in range(1, len(model.modalities_)):
        asked = [_turned(m, model.modalities_, offset) for m in modalities]
        other = [next(t for m, t in known if m == wanted) for wanted in asked]
        wrong_B, _ = model.predict_features(features, asked, other)
        lower, total = lower + int((wrong_B < right_B).sum()), total + len(good)
    yield _share("wrong modality scores lower", lower, total, ">= 85 %")
    made = [place for place in range(len(good)) if good[place] < pool.num_made]
    real = [place for place in range(len(good)) if good[place] >= pool.num_made]
    for name, which in (("made", made), ("real", real)):
        lower, total = _wrong_findings(pool, model, [good[place] for place in which], known)
        yield _share(f"wrong finding, {name} images, scores lower", lower, total, "reported")


def _wrong_findings(
    pool: Pool, model: RewardModel, good: Sequence[int], known: Sequence[tuple[str, str]]
) -> tuple[int, int]:
    """Return how many wrong findings score lower than the right one, of how many measurable."""
    features, modalities, texts = pool.chosen(good)
    right_B, _ = model.predict_features(features, modalities, texts)
    measurable = load_eyes().labels
    lower = total = 0
    for at, (m, t) in enumerate(zip(modalities, texts, strict=True)):
        if pool.labels[good[at]] not in measurable[m]:
            continue
        rivals = [other for mm, other in known if mm == m and other != t]
        wrong_B, _ = model.predict_features(
            features[at : at + 1].expand(len(rivals), -1), [m] * len(rivals), rivals
        )
        lower, total = lower + int((wrong_B < right_B[at]).sum()), total + len(rivals)
    return lower, total


def _turned(modality: str, known: Sequence[str], offset: int) -> str:
    return known[(known.index(modality) + offset) % len(known)]


def _share(name: str, num: int, total: int, bar: str) -> Row:
    found = wilson_interval(num, total)
    low, high = 100 * found.low, 100 * found.high
    return name, f"{100 * found.value:.1f} % ({low:.1f}-{high:.1f}) of {total}", "", bar


@torch.no_grad()
def unknown_images(pool: Pool, backbone: Backbone, repetitions: int) -> Iterator[Row]:
    """The spread where nothing like it was rated: no spoiled image was, and no brain."""
    brain_B = torch.tensor([modality == LEFT_OUT for modality in pool.modalities])
    with torch.enable_grad():
        rated, table = draw(pool, 0, among=~pool.spoiled_B & ~brain_B)
        model = RewardModel(backbone, RewardConfig()).fit(table, measured=False)
    others_B = ~pool.spoiled_B & ~brain_B
    others_B[rated] = False
    places = others_B.nonzero().flatten().tolist()[::2]
    pixels = pool.pixels_B3HW[places]
    modalities, texts = [pool.modalities[p] for p in places], [pool.texts[p] for p in places]
    brains = pool.pixels_B3HW[brain_B & ~pool.spoiled_B]
    brains = brains.repeat(len(pixels) // len(brains) + 1, 1, 1, 1)[: len(pixels)]
    chance = torch.Generator().manual_seed(0)
    usual = model.predict(pixels, modalities, texts)[1]
    partners = pixels.roll(1, 0)
    strange = {
        "noise": torch.rand(pixels.shape, generator=chance),
        "inverted": 1 - pixels,
        f"{LEFT_OUT}, a modality never rated": brains,
        "shuffled patches": corrupt_one_way(pixels, partners, "shuffle", 1.0, chance),
        "blocks": corrupt_one_way(pixels, partners, "blocks", 1.0, chance),
        "strong noise added": corrupt_one_way(pixels, partners, "noise", 1.0, chance),
        "blurred": corrupt_one_way(pixels, partners, "blur", 1.0, chance),
    }
    limit = usual.quantile(0.95)
    yield "spread of like images, median", f"{usual.median():.3f}", "", ""
    for name, images in strange.items():
        mean_B, spread_B = model.predict(images, modalities, texts)
        above = 100 * float((spread_B > limit).float().mean())
        found = f"{spread_B.median():.3f}; {above:.0f} % above the 95th percentile of like images"
        yield f"spread of {name}, median", f"{found}; mean score {mean_B.mean():.2f}", "", "large"


def attacked(pool: Pool, backbone: Backbone, repetitions: int) -> Iterator[Row]:
    """Gradient steps on pixels that raise mean - penalty x spread; the gate looks through D."""
    rated, model = fitted(pool, backbone)

    def reward(pixels: Tensor, places: Sequence[int]) -> Tensor:
        modalities = [pool.modalities[p] for p in places]
        mean_B, spread_B = model.predict(pixels, modalities, [pool.texts[p] for p in places])
        return mean_B - SPREAD_PENALTY * spread_B

    real = pool.real_B.nonzero().flatten().tolist()
    with torch.no_grad():
        limit = reward(pool.pixels_B3HW[real], real).quantile(0.99)
    starts = np.random.default_rng(0).choice(len(pool.grade_B), NUM_STARTS, replace=False).tolist()
    pixels = pool.pixels_B3HW[starts].clone()
    with torch.no_grad():
        before = reward(pixels, starts)
    for _ in range(ATTACK_STEPS):
        pixels.requires_grad_(True)
        (slope,) = torch.autograd.grad(reward(pixels, starts).sum(), pixels)
        pixels = (pixels.detach() + ATTACK_STEP * slope.sign()).clamp(0, 1)
    with torch.no_grad():
        after = reward(pixels, starts)
        far = are_far(load_features()(pixels), train_features().features)
    name = "attacked images stay below real's 99th percentile"
    yield _share(f"{name}, no gates", int((after <= limit).sum()), NUM_STARTS, "reported")
    stopped = (after <= limit) | far
    yield _share(f"{name} or are out of distribution", int(stopped.sum()), NUM_STARTS, ">= 90 %")
    yield (
        "reward before, after the attack; real's 99th percentile",
        f"{before.mean():.2f}, {after.mean():.2f}; {limit:.2f}",
        "",
        "",
    )


PARTS: dict[str, Callable[[Pool, Backbone, int], Iterator[Row]]] = {
    "raters": several_raters,
    "prompts": wrong_prompts,
    "unknown": unknown_images,
    "attack": attacked,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
