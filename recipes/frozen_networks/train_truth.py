"""Teach a truth network modalities, findings and the severity of corruptions.

Shapes: B images of a step, each once clean and once corrupted.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rewards.frozen.config import MODALITIES, TrainingSettings
from rewards.frozen.corruptions import corrupt
from rewards.frozen.data import RealImage
from rewards.frozen.files import average_of
from rewards.frozen.truth import Finding, TruthNetwork
from rewards.frozen.views import real_views

OTHER_MODALITY = 0.15  # share of the partners (for blends and splices) from another modality
WEIGHTS = {"modality": 1.0, "finding": 0.7, "severity": 1.5, "kind": 0.3}  # of the lessons
Progress = Callable[[str], None]


def findings_of(images: list[RealImage]) -> list[Finding]:
    """Return every finding that is not alone in its source, in a fixed order."""
    findings = {Finding(i.modality, i.label, i.source) for i in images}
    labels_in = Counter(f.source for f in findings)
    several = [f for f in findings if labels_in[f.source] > 1]
    return sorted(several, key=lambda f: (f.modality, f.source, f.label))


def train_truth(
    network: TruthNetwork, images: list[RealImage], settings: TrainingSettings, progress: Progress
) -> TruthNetwork:
    """Train on these images; returns a copy that holds the average of the weights."""
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)  # dropout
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    weights_N = _sampling_weights(images)
    average = copy.deepcopy(network.state_dict())
    network.train()
    recent: list[dict[str, float]] = []
    for step in range(settings.num_steps):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * warm_cosine(step, settings)
        places = torch.multinomial(weights_N, settings.num_pairs, True, generator=generator)
        loss, parts = _loss(network, images, places.tolist(), generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average_of(average, network.state_dict(), min(settings.average_decay, step / (step + 10)))
        recent.append(parts)
        if len(recent) == 100:
            means = {name: sum(p[name] for p in recent) / len(recent) for name in parts}
            progress(f"step {step + 1}: {', '.join(f'{k} {v:.3f}' for k, v in means.items())}")
            recent.clear()
    trained = copy.deepcopy(network)
    trained.load_state_dict(average)
    return trained.eval()


def warm_cosine(step: int, settings: TrainingSettings) -> float:
    """Return the factor on the learning rate: a short warm-up, then a cosine down to 1 %."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / settings.num_steps)
    return min(1.0, (step + 1) / 100) * max(cosine, 0.01)


def _sampling_weights(images: list[RealImage]) -> Tensor:
    """Rare findings are seen more often than their count says, by its square root."""
    counts = Counter((i.modality, i.source, i.label) for i in images)
    return torch.tensor([counts[i.modality, i.source, i.label] ** -0.5 for i in images])


def _loss(
    network: TruthNetwork, images: list[RealImage], places: list[int], generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    clean = real_views([images[p].pixels for p in places], generator)
    others = _partners(images, places, generator)
    partners = real_views([images[p].pixels for p in others], generator)
    corrupted = corrupt(clean, partners, generator)
    both = torch.cat([clean, corrupted.images]).to(memory_format=torch.channels_last)
    with torch.autocast(both.device.type, torch.bfloat16):
        heads = network.heads(both)
    lessons = {
        "modality": _modality_loss(heads.modality, images, places),
        "finding": _finding_loss(network, heads.finding[: len(places)].float(), images, places),
        "severity": _severity_loss(heads.severity, corrupted.severities),
        "kind": _kind_loss(heads.kind, corrupted.kinds),
    }
    loss = torch.stack([WEIGHTS[name] * value for name, value in lessons.items()]).sum()
    return loss, {name: value.item() for name, value in lessons.items()}


def _modality_loss(logits: Tensor, images: list[RealImage], places: list[int]) -> Tensor:
    """Corrupted images keep their modality; the smoothing keeps log-probabilities finite."""
    modality_2B = torch.tensor([MODALITIES.index(images[p].modality) for p in places]).repeat(2)
    return functional.cross_entropy(logits.float(), modality_2B, label_smoothing=0.01)


def _severity_loss(severity_2B: Tensor, severities_B: Tensor) -> Tensor:
    wanted_2B = torch.cat([torch.zeros_like(severities_B), severities_B])
    return functional.smooth_l1_loss(severity_2B.float(), wanted_2B, beta=0.5)


def _kind_loss(logits: Tensor, kinds_B: Tensor) -> Tensor:
    """Not used once trained: naming what is wrong is the shortest way to seeing how wrong it is."""
    clean_B = torch.full_like(kinds_B, logits.shape[1] - 1)
    return functional.cross_entropy(logits.float(), torch.cat([clean_B, kinds_B]))


def _partners(images: list[RealImage], places: list[int], generator: torch.Generator) -> list[int]:
    """Draw another patient's image for each, mostly of the same modality."""
    drawn = []
    for place in places:
        same = float(torch.rand((), generator=generator)) >= OTHER_MODALITY
        candidates = [
            other
            for other, image in enumerate(images)
            if (image.modality == images[place].modality) == same
            and image.patient != images[place].patient
        ]
        drawn.append(candidates[int(torch.randint(len(candidates), (), generator=generator))])
    return drawn


def _finding_loss(
    network: TruthNetwork, logits_BF: Tensor, images: list[RealImage], places: list[int]
) -> Tensor:
    """Cross-entropy among the labels of the image's own source, if that has several."""
    column = {finding: place for place, finding in enumerate(network.findings)}
    wanted = [Finding(images[p].modality, images[p].label, images[p].source) for p in places]
    kept = [row for row, finding in enumerate(wanted) if finding in column]
    source_of = [finding.source for finding in network.findings]
    allowed_KF = torch.tensor([[wanted[row].source == s for s in source_of] for row in kept])
    if not kept:
        return logits_BF.sum() * 0
    logits_KF = logits_BF[kept].masked_fill(~allowed_KF, -1e4)
    return functional.cross_entropy(logits_KF, torch.tensor([column[wanted[row]] for row in kept]))
