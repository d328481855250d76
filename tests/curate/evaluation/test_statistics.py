import torch

from curate.evaluation.statistics import STATISTICS, statistics_of


def named(images: torch.Tensor) -> dict[str, float]:
    return dict(zip(STATISTICS, statistics_of(images)[0].tolist(), strict=True))


def test_a_flat_grey_image_has_brightness_and_nothing_else() -> None:
    found = named(torch.full((1, 3, 8, 8), 0.25))
    assert found == {"brightness": 0.25, "contrast": 0, "detail": 0, "colour": 0}


def test_a_checkerboard_has_all_the_detail_there_is() -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = ((rows + columns) % 2).float().expand(1, 3, 8, 8)
    found = named(board)
    assert found["detail"] == 4  # every neighbour is the opposite: |4 x (0 - 1)|
    assert found["contrast"] > 0.5
    assert found["colour"] == 0


def test_red_is_colour() -> None:
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    assert named(red)["colour"] > 0.5
