"""The patients who only measure: no network that ships has learned from them, nor been chosen.

About a fifth of the table's train patients, the first by hash in each modality, and more where the
validation rows and they are fewer than 40 images; beside them the validation rows. A patient with
more than 20 images stays in training, where a finding would be lost with him.
"""

import hashlib
from pathlib import Path

# A line each: the beginning of the SHA-256 of the patient's name in the table.
SET_ASIDE = frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split())


def is_set_aside(patient: str) -> bool:
    """Return whether this patient of the table is one of them."""
    return hashlib.sha256(patient.encode()).hexdigest()[:16] in SET_ASIDE
