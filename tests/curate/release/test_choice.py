from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from curate.errors import CurateError
from curate.release.choice import _share_of, cautious
from curate.release.config import ExportConfig
from db.queries.images import ScoredImage

SURE = ScoredImage(uuid4(), "f", "p", "sure", "o", "OCT", "drusen", None, "v", 0, "s", 0.7, 0.1)
UNSURE = replace(SURE, item_key="unsure", score=0.8, spread=0.3)
REAL: Any = [(number, None) for number in range(100)]  # only counted


def test_a_penalty_ranks_the_sure_image_first_and_none_changes_nothing() -> None:
    assert cautious([SURE, UNSURE], 0.0) == [SURE, UNSURE]
    sure, unsure = cautious([SURE, UNSURE], 1.0)
    assert (sure.score, unsure.score) == pytest.approx((0.6, 0.5))
    assert cautious([UNSURE], 9.0)[0].score == 0
    assert cautious([replace(SURE, score=None, spread=None)], 1.0)[0].score is None
    with pytest.raises(CurateError, match="it must be 0 or more"):
        cautious([SURE], -1.0)


def test_real_images_are_at_most_the_share_asked_for() -> None:
    assert len(_share_of(REAL, ExportConfig(with_real=True), 90)) == 100
    mixed = _share_of(REAL, ExportConfig(with_real=True, real_share=0.25), 90)
    assert len(mixed) == 30 and mixed == REAL[:30]
    with pytest.raises(CurateError, match="above 0 and below 1"):
        _share_of(REAL, ExportConfig(with_real=True, real_share=1.0), 90)
