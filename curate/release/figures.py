"""A reward model's held-out figures in words, for cards and pages."""

from collections.abc import Mapping
from typing import Any

NAMES = {
    "auc_top_or_bottom": "AUC, best-rated against worst-rated",
    "auc_top_or_rest": "AUC, best-rated against all others",
    "spearman": "rank correlation with the ratings",
    "ece": "calibration error",
    "num_ratings": "held-out ratings",
    "num_images": "held-out images",
    "mean_by_value": "mean score of images rated",
    "auc_images_shuffled": "AUC with images shuffled (chance: 0.5)",
    "auc_prompts_shuffled": "AUC with prompts shuffled",
    "ordinal_accuracy": "share of ratings guessed exactly",
    "kappa": "weighted kappa with a rating",
    "kappa_of_raters": "weighted kappa of two raters (the ceiling)",
}


def held_out_figures(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what `train-reward` measured on ratings that the model was not fitted to.

    `metrics` are those of a reward model's row; figures that it could not measure are left out.
    """
    return _in_words(metrics.get("held_out", {}), "")


def _in_words(figures: Mapping[str, Any], before: str) -> dict[str, str]:
    words: dict[str, str] = {}
    for key, value in figures.items():
        name = f"{before}{NAMES.get(key, key.replace('_', ' '))}"
        if isinstance(value, Mapping):
            words.update(_in_words(value, f"{name} "))
        elif isinstance(value, float):
            words[name] = f"{value:.3f}"
        elif value is not None:
            words[name] = f"{value:,}" if isinstance(value, int) else str(value)
    return words
