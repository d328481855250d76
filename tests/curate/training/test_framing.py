import pytest
import torch

from curate.errors import CurateError
from curate.training.framing import refuse_sided_texts
from generators.framing import framed


def test_cropping_keeps_the_centre_and_the_aspect() -> None:
    image = torch.zeros(1, 20, 40)
    image[:, :, 10:30] = 1  # the central square
    assert torch.equal(framed(image, 10, 10, "crop")[:, :, 1:9], torch.ones(1, 10, 8))


def test_padding_keeps_everything_between_black_margins() -> None:
    image = torch.ones(1, 20, 40)
    found = framed(image, 8, 8, "pad")
    torch.testing.assert_close(found[0, :, 4], torch.tensor([0, 0, 1, 1, 1, 1, 0, 0.0]))


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 7, 13), (3, 13, 7), (3, 8, 8), (1, 255, 256)])
def test_any_shape_becomes_the_square_in_0_to_1(shape: tuple[int, int, int], fit: str) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    found = framed(image, 8, 8, fit)
    assert found.shape == (shape[0], 8, 8)
    assert 0 <= found.min() and found.max() <= 1


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_classes_are_never_blended(fit: str) -> None:
    mask = torch.randint(0, 4, (1, 13, 9), generator=torch.Generator().manual_seed(0)) / 255
    found = framed(mask, 8, 8, fit, labels=True)
    assert found.shape == (1, 8, 8)
    assert set(found.unique().tolist()) <= set(mask.unique().tolist())


@pytest.mark.parametrize(
    "text", ["left eye", "Right-sided effusion", "OD, drusen", "nasal to the disc", "nodule, R"]
)
def test_a_text_that_names_a_side_is_known(text: str) -> None:
    with pytest.raises(CurateError, match="names? a side"):
        refuse_sided_texts(["normal", text])


def test_texts_without_a_side_may_be_mirrored() -> None:
    refuse_sided_texts(["normal", "brightly lit", "retinopathy grade 4", "AMD, drusen", ""])
