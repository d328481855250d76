"""The dataset card of a release: what it is, how it was made, what it must not be used for."""

from collections import Counter
from pathlib import Path
from typing import Any

import jinja2

from curate.evaluation.features import FEATURE_NETWORK
from curate.outside import as_text
from curate.release.certificate import certificate_json
from curate.release.choice import Chosen
from curate.release.classes import warning_lines
from curate.release.config import ExportConfig
from curate.release.figures import held_out_figures
from curate.release.lineage import Lineage
from curate.release.selection import kind_of
from curate.release.splits import TEST, TRAIN, VALIDATION
from db.models import Campaign, GeneratorVersion

TEMPLATE = Path(__file__).parent / "card.md"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card_bytes(chosen: Chosen, *, has_formulas: bool) -> bytes:
    """Return README.md with the YAML header that the Hugging Face hub reads.

    `has_formulas`: a text in the tables looks like a formula and was written so that it is none.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["text"] = as_text
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    kept = [decision.image for decision in chosen.kept.values()]
    rejected = Counter(kind_of(d.reason) for d in chosen.decisions if not d.kept)
    modalities = sorted({image.modality for image in kept})
    model = chosen.reward_model
    licence = licence_of(chosen.config, chosen.lineage)
    real = [entry for entry in chosen.entries if entry.origin == "real"]
    sources = Counter((e.source or "not stated", e.licence or "not stated") for e in real)
    text: str = template.render(
        {
            "title": f"Synthetic {', '.join(modalities)} images",
            "licence": licence,
            "marked": chosen.config.mark,
            "licence_text": as_text(licence["text"]) if chosen.config.licence else licence["text"],
            "size_category": next((name for top, name in SIZES if len(kept) < top), "n>1M"),
            "num_kept": len(kept),
            "num_decisions": len(chosen.decisions),
            "simulated": chosen.lineage.simulated or model.simulated,
            "classes": chosen.classes,
            "short": [*warning_lines(chosen.classes), *chosen.label_notes],
            "threshold": chosen.threshold,
            "num_real": len(real),
            "edits": chosen.edits,
            "real_sources": [(*named, count) for named, count in sorted(sources.items())],
            "splits": _splits(chosen),
            "certificate": chosen.certificate and certificate_json(chosen.certificate),
            "formats": chosen.config.formats,
            "rule_notes": _rule_notes(chosen.config),
            "mixed_settings": list(chosen.mixed_settings.items()),
            "has_formulas": has_formulas,
            "reasons": sorted(rejected.items()),
            "num_train": len(chosen.reference.train_MD),
            "feature_network": FEATURE_NETWORK,
            "radius": chosen.reference.radius,
            "generators": [_generator_line(v, chosen) for v in chosen.lineage.versions.values()],
            "reward_model": model,
            "rating_word": "simulated ratings" if model.simulated else "ratings",
            "figures": list(held_out_figures(model.metrics).items()),
            "campaigns": [_campaign_line(c, chosen) for c in chosen.lineage.campaigns.values()]
            or ["No rating is known behind the reward model."],
        }
    )
    return text.encode()


def licence_of(config: ExportConfig, lineage: Lineage) -> dict[str, str]:
    """Return the licence's identifier and what to say of it."""
    if config.licence is not None:
        return {"id": config.licence, "text": f"{config.licence}, as the exporter stated."}
    roots = [version for version in lineage.versions.values() if version.parent_id is None]
    if roots and all(version.how_made == "embedded" for version in roots):
        return {
            "id": "cc-by-4.0",
            "text": "CC BY 4.0, as the generator's weights. `ATTRIBUTION.md` names the sources of "
            "the images that the generator was trained on; keep it with the set.",
        }
    return {
        "id": "other",
        "text": "Not stated. It follows from the generator's weights and the images that they were "
        "trained on: ask their owner before passing this set on.",
    }


def _splits(chosen: Chosen) -> list[dict[str, Any]]:
    """Return each split's name, files and number of images; one split has no folder of its own."""
    counts = Counter(entry.split for entry in chosen.entries)
    return [
        {
            "name": split,
            "files": f"images/{split}/**" if len(counts) > 1 else "images/**",
            "count": counts[split],
        }
        for split in (TRAIN, VALIDATION, TEST)
        if counts[split]
    ]


def _rule_notes(config: ExportConfig) -> str:
    notes = []
    if config.top_share is not None:
        notes.append(f", which keeps the best {100 * config.top_share:g} % of the scored images")
    if config.spread_penalty:
        notes.append(f"; {config.spread_penalty:g} spreads were taken off every score before")
    if config.per_label is not None:
        notes.append(f"; at most {config.per_label} of one modality and label, spread out")
    if config.quota is not None:
        notes.append(f"; of each modality and label the best {config.quota}")
    if config.label_check is not None:
        notes.append(
            f"; the requested label read with a probability of at least {config.label_check:g}"
        )
    if config.target_precision is not None:
        notes.append(", which the certificate below came to")
    return "".join(notes)


def _generator_line(version: GeneratorVersion, chosen: Chosen) -> str:
    images = sum(d.image.version_id == version.id for d in chosen.kept.values())
    made = f"`{version.id[:12]}` ({as_text(version.generator_name)}, {version.how_made}"
    if version.parent_id is not None:
        made += f" from `{version.parent_id[:12]}`"
    in_round = chosen.lineage.rounds.get(version.id)
    if in_round is not None:
        made += f" in round {in_round.number} of {as_text(in_round.loop_name)}, {in_round.state}"
    return f"{made}): {images} images." if images else f"{made})."


def _campaign_line(campaign: Campaign, chosen: Chosen) -> str:
    own = [r for r in chosen.lineage.ratings if r.campaign_id == campaign.id]
    num_ratings = len({rating.rating_id for rating in own})
    num_raters = len({rating.rater_id for rating in own})
    who = "simulated raters" if campaign.simulated else "raters"
    if not own:
        return f"Campaign {as_text(campaign.name)} judged a generator version only."
    return f"Campaign {as_text(campaign.name)}: {num_ratings} ratings by {num_raters} {who}."
