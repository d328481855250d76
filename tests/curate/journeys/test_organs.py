"""Lungs and hearts counted: two and one on real procedural films, more where one is planted."""

import numpy as np
import pytest

from curate.journeys.organs import EXPECTED, organs_in
from curate.journeys.phantoms import Grey, Patient


def ellipse(side: int, centre: tuple[float, float], radii: tuple[float, float]) -> Grey:
    """Return 1 inside, 0 outside; all are shares of the side, x before y."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    far = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
    inside: Grey = (far < 1).astype(float)
    return inside


def planted(patient: Patient, organ: str, way: int, side: int) -> Grey:
    """Return the patient's first film with a second heart in a lung, or a third lung below."""
    film, body = patient.film(patient.visits[0], side), patient.anatomy
    if organ == "heart":
        where = ellipse(side, (0.5 + way * body["gap"], 0.34), (body["heart"], 0.125))
        return film * (1 - where) + where * 0.58
    where = ellipse(side, (0.5 + way * 0.24, 0.90), (0.8 * body["lung"], 0.10))
    return film * (1 - where) + where * (body["air"] + 0.03)


@pytest.mark.parametrize("side", [32, 64])
def test_real_films_have_two_lungs_and_a_heart(side: int) -> None:
    drawn = [Patient.drawn(number, (2, 4)) for number in range(3000, 3060)]
    wrong = [organs_in(one.film(visit, side)) != EXPECTED for one in drawn for visit in one.visits]
    assert np.mean(wrong) <= 0.02


@pytest.mark.parametrize("side", [32, 64])
def test_of_twenty_planted_organs_all_are_found(side: int) -> None:
    drawn = [Patient.drawn(number, (2, 4)) for number in range(3000, 3010)]
    for number, patient in enumerate(drawn):
        way = 1 if number % 2 else -1
        lungs, hearts = organs_in(planted(patient, "heart", way, side))
        assert hearts >= 2, f"patient {patient.number}"
        lungs, hearts = organs_in(planted(patient, "lung", way, side))
        assert lungs >= 3, f"patient {patient.number}"


def test_a_black_or_a_flat_picture_has_no_organs() -> None:
    assert organs_in(np.zeros((32, 32))) == (0, 0)
    assert organs_in(np.full((32, 32), 0.4)) != EXPECTED
