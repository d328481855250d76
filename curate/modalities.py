"""The one table of modality names: whatever a table calls them, here is what we call them.

A name that is not in the table has no canonical form: `canonical_modality("CT")` is None, since a
CT may show any part of the body. Nothing is guessed.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache

# canonical name -> other spellings. Case, spaces, dashes, dots and underscores do not count.
ALIASES: dict[str, tuple[str, ...]] = {
    "OCT": ("optical coherence tomography", "macular OCT", "retinal OCT", "OCT B-scan"),
    "Fundus": (
        "fundus photograph",
        "fundus photography",
        "colour fundus photograph",
        "color fundus photograph",
        "colour fundus",
        "color fundus",
        "retinal fundus",
        "CFP",
    ),
    "CXR": (
        "chest X-ray",
        "chest X-rays",
        "chest radiograph",
        "chest radiography",
        "X-ray chest",
        "thorax X-ray",
    ),
    "ChestCT": ("chest CT", "CT chest", "thoracic CT", "thorax CT", "CT thorax", "lung CT"),
    "HeadCT": ("head CT", "CT head", "brain CT", "CT brain", "cranial CT"),
    "AbdomenCT": ("abdomen CT", "abdominal CT", "CT abdomen"),
    "BrainMRI": ("brain MRI", "MRI brain", "brain MR", "head MRI", "cranial MRI"),
    "BreastMRI": ("breast MRI", "MRI breast", "breast MR"),
    "CardiacMRI": ("cardiac MRI", "heart MRI", "MRI heart", "cardiac MR", "CMR"),
    "ProstateMRI": ("prostate MRI", "MRI prostate", "prostate MR"),
    "SpineMRI": ("spine MRI", "spinal MRI", "MRI spine", "spine MR"),
    "KneeMRI": ("knee MRI", "MRI knee", "knee MR"),
    "Ultrasound": ("ultrasonography", "sonography", "sonogram"),
    "Mammography": ("mammogram", "mammograms"),
    "Pathology": ("histopathology", "histology", "whole slide image", "H&E"),
    "Dermoscopy": ("dermatoscopy", "dermoscopic image"),
    "Endoscopy": ("endoscopic image", "colonoscopy", "gastroscopy"),
}

# "No pathology" is a finding: as a modality this word counts in a column of its own only.
_ALSO_A_FINDING = ("Pathology",)


def canonical_modality(name: str) -> str | None:
    """Return our name for a modality, or None for a name that the table does not have."""
    return _canonical_by_key().get(_key(name))


def modalities_named_in(text: str) -> set[str]:
    """Return every modality that a description names in whole words.

    Abbreviations count in capitals only: `Oct 2020` names no modality.
    """
    return {canonical for pattern, canonical in _patterns() if pattern.search(text)}


def known_modalities() -> str:
    """Return the canonical names as one line, for a message."""
    return ", ".join(ALIASES)


def _key(name: str) -> str:
    return re.sub(r"[\s\-._/]+", "", name).casefold()


@cache
def _canonical_by_key() -> dict[str, str]:
    return {
        _key(spelling): canonical
        for canonical, spellings in ALIASES.items()
        for spelling in (canonical, *spellings)
    }


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    patterns = []
    for canonical, spellings in ALIASES.items():
        for spelling in {canonical, *spellings}.difference(_ALSO_A_FINDING):
            words = r"[\s\-_]*".join(re.escape(word) for word in re.split(r"[\s\-]+", spelling))
            flags = re.NOFLAG if spelling.isupper() and spelling.isalpha() else re.IGNORECASE
            patterns.append((re.compile(rf"(?<!\w){words}(?!\w)", flags), canonical))
    return patterns


class NoModality(ValueError):
    """A row's modality is not known; the message is the reason."""


def is_modality(name: str, new: Sequence[str] = ()) -> bool:
    """Say whether a name stands in the table or is one of the `new` ones, taken as they are."""
    return canonical_modality(name) is not None or name.strip() in new


def resolve_modality(
    name: str, text: str, *, default: str | None = None, new: Sequence[str] = ()
) -> str:
    """Return the modality of a row: by its column, else `default`, else the one its text names.

    Raises NoModality for a name that is not known and for a text that names none or several.
    """
    given = name.strip() or (default or "").strip()
    if not given:
        named = sorted(modalities_named_in(text))
        if len(named) == 1:
            return named[0]
        found = f"Text names {' and '.join(named)}" if named else "Text names none"
        raise NoModality(f"no modality: {found}. Add a modality column or give --modality")
    if given in new:
        return given
    canonical = canonical_modality(given)
    if canonical is None:
        spellings = _canonical_by_key()
        near = get_close_matches(_key(given), spellings, n=1, cutoff=0.7)
        meant = f" (did you mean {spellings[near[0]]}?)" if near else ""
        raise NoModality(
            f"modality {given!r} is not known{meant}; known: {known_modalities()}. To "
            f"take it as it is: `curate import --new-modality {given!r}`"
        )
    return canonical
