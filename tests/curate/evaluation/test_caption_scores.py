"""Against the figures of pycocoevalcap 1.2 on the same words; it is not installed here."""

import numpy as np
import pytest

from curate.evaluation.caption_scores import score_captions, words_of

PAIRS = [
    ("macular oct b-scan with drusen", "macular oct b-scan drusen"),
    (
        "a chest x-ray of a child with pneumonia in the right lung",
        "chest x-ray of a child, pneumonia of the right lower lobe",
    ),
    ("normal chest x-ray", "normal chest x-ray"),
    (
        "fundus photograph no diabetic retinopathy",
        "fundus photograph with severe diabetic retinopathy",
    ),
    ("brain mri axial view with a glioma", "axial brain mri a glioma is seen"),
    ("brain mri", "sagittal brain mri of a pituitary tumour with contrast"),
    ("the the the the the the", "the lung is clear"),
    (
        "chest ct of a malignant nodule in the left upper lobe near the hilum",
        "chest ct malignant nodule",
    ),
    ("completely other words here", "chest ct without a finding"),
    (
        "oct of the macula with fluid under the retina",
        "oct of the macula with fluid under the retina and drusen",
    ),
]
CIDER_D = [6.468837, 4.432831, 10.0, 3.023216, 2.414104, 0.859882, 0.124009, 0.487959, 0, 8.355923]
ROUGE_L = [0.924242, 0.725231, 1.0, 0.715543, 0.571429, 0.326203, 0.207483, 0.493927, 0, 0.884058]


def test_the_scores_are_those_of_the_captioning_tools_of_the_field() -> None:
    found = score_captions([said for said, _ in PAIRS], [asked for _, asked in PAIRS])
    np.testing.assert_allclose(found.cider_N, CIDER_D, atol=1e-6)
    np.testing.assert_allclose(found.rouge_N, ROUGE_L, atol=1e-6)
    assert found.bleu(np.ones((1, len(PAIRS))))[0] == pytest.approx(0.386214213, abs=1e-8)


def test_a_resample_scores_the_images_that_it_drew() -> None:
    """A weight of 2 is an image drawn twice."""
    said, asked = [one for one, _ in PAIRS], [other for _, other in PAIRS]
    found = score_captions(said, asked)
    weights = np.array([[2.0, 1, 0, 0, 0, 0, 0, 0, 0, 1]])
    drawn = [0, 0, 1, 9]
    alone = score_captions([said[at] for at in drawn], [asked[at] for at in drawn])
    ones = np.ones((1, len(drawn)))
    assert found.bleu(weights)[0] == pytest.approx(alone.bleu(ones)[0])
    assert found.mean(found.rouge_N, weights)[0] == pytest.approx(alone.rouge_N.mean())


def test_nothing_said_scores_nothing_and_case_and_stops_do_not_count() -> None:
    found = score_captions(["", "Lung, clear."], ["lung clear", "lung clear"])
    assert found.cider_N[0] == found.rouge_N[0] == 0 and found.rouge_N[1] == 1
    assert found.bleu(np.array([[1.0, 0.0]]))[0] == 0
    assert words_of("Macular OCT B-scan, 3.5 mm.") == [
        "macular",
        "oct",
        "b",
        "scan",
        "3",
        "5",
        "mm",
    ]
    with pytest.raises(ValueError, match="2 texts for 1"):
        score_captions(["a", "b"], ["a"])
