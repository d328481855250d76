"""Procedural patients: an anatomy that stays, findings that come and go, reports that say so.

Drawn like a chest film seen from the front: the patient's right is on the image's left. All of it
follows from (seed, patient, visit), and the renderer knows the true answer to every "what if".
Shapes: H x W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, zoom

Grey = NDArray[np.float64]
FINDINGS = (
    "right pleural effusion",
    "left pleural effusion",
    "cardiomegaly",
    "right lung nodule",
    "left lung opacity",
)
ORGANS = ("right lung", "left lung", "heart")
CHANGE = 0.3  # chance that a finding is another one at the next visit
NOISE = 0.013  # standard deviation of a film's grain, of 0 .. 1
_PRESENT = {
    "right pleural effusion": ("Right pleural effusion", "There is a right pleural effusion"),
    "left pleural effusion": ("Left pleural effusion", "There is a left pleural effusion"),
    "cardiomegaly": ("Cardiomegaly", "The heart is enlarged"),
    "right lung nodule": ("Nodule in the right lung", "A right lung nodule is seen"),
    "left lung opacity": ("Opacity in the left lung", "Patchy left lung opacity is present"),
}
_ABSENT = {
    "right pleural effusion": ("No right pleural effusion", "No effusion on the right"),
    "left pleural effusion": ("No left pleural effusion", "No effusion on the left"),
    "cardiomegaly": ("No cardiomegaly", "Heart size is normal"),
    "right lung nodule": ("No right lung nodule", "No nodule in the right lung"),
    "left lung opacity": ("No left lung opacity", "The left lung is without opacity"),
}


@dataclass(frozen=True)
class Visit:
    """One film: what is found, how the patient lay and how the film was exposed."""

    day: int  # since the first visit
    findings: tuple[bool, ...]  # in the order of FINDINGS
    shift: tuple[float, float] = (0.0, 0.0)  # down and right, in 1/256 of the side
    degrees: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    grain: int = 0  # seed of its noise

    def with_findings(self, **changes: bool) -> "Visit":
        """Return the same film of the same day, had the patient had other findings."""
        places = {name.replace(" ", "_"): place for place, name in enumerate(FINDINGS)}
        found = list(self.findings)
        for name, value in changes.items():
            found[places[name]] = value
        return replace(self, findings=tuple(found))


@dataclass(frozen=True)
class Patient:
    """An anatomy, by its number, and the visits."""

    number: int
    anatomy: Mapping[str, float]
    visits: tuple[Visit, ...]

    @classmethod
    def drawn(cls, number: int, visits: tuple[int, int]) -> "Patient":
        """Return the patient of a number."""
        random = np.random.default_rng([number, 1])
        anatomy = {
            "wide": random.uniform(0.80, 1.08),  # the chest
            "tall": random.uniform(0.85, 1.08),
            "gap": random.uniform(0.20, 0.26),  # from the middle to a lung's centre
            "lung": random.uniform(0.135, 0.175),  # half width of a lung
            "heart": random.uniform(0.10, 0.13),  # half width of a healthy one
            "low": random.uniform(0.58, 0.66),  # the heart's centre, from above
            "spine": random.uniform(0.03, 0.055),
            "ribs": float(random.integers(5, 9)),
            "bend": random.uniform(0.03, 0.10),  # of the ribs
            "soft": random.uniform(0.34, 0.46),  # grey of the soft tissue
            "air": random.uniform(0.10, 0.18),  # grey of the lungs
        }
        found = random.random(len(FINDINGS)) < 0.4
        day, made = 0, []
        for place in range(int(random.integers(visits[0], visits[1] + 1))):
            if place:
                day += int(random.integers(1, 90))
                found = found ^ (random.random(len(FINDINGS)) < CHANGE)
            made.append(
                Visit(
                    day=day,
                    findings=tuple(bool(one) for one in found),
                    shift=(float(random.uniform(-8, 8)), float(random.uniform(-8, 8))),
                    degrees=float(random.uniform(-5, 5)),
                    gain=float(random.uniform(0.95, 1.05)),
                    offset=float(random.uniform(-0.03, 0.03)),
                    grain=place,
                )
            )
        return cls(number, anatomy, tuple(made))

    def film(self, visit: Visit, side: int) -> Grey:
        """Return the film [H, W] in 0 .. 1, at `side` pixels each way."""
        exposed = self.without_grain(visit, side)
        random = np.random.default_rng([self.number, visit.grain, 7])
        return np.clip(exposed + random.normal(0, NOISE, exposed.shape), 0, 1)

    def without_grain(self, visit: Visit, side: int) -> Grey:
        """Return what a film would show if it had no grain; values may lie a little outside."""
        scene, _ = draw(self.number, self.anatomy, visit.findings, side)
        moved = _moved_by(scene, visit.shift, visit.degrees)
        return moved * visit.gain + visit.offset * (moved > 0.02)

    def levels(self, visit: Visit, side: int) -> NDArray[np.uint8]:
        """Return the film as files hold it: uint8 [H, W]."""
        levels: NDArray[np.uint8] = np.rint(self.film(visit, side) * 255).astype(np.uint8)
        return levels

    def report(self, visit: Visit) -> tuple[str, str]:
        """Return the sections FINDINGS and IMPRESSION, in one of several wordings."""
        random = np.random.default_rng([self.number, visit.grain, 3])
        said = []
        for name, present in zip(FINDINGS, visit.findings, strict=True):
            wordings = (_PRESENT if present else _ABSENT)[name]
            said.append(wordings[random.integers(len(wordings))])
        order = random.permutation(len(said))
        positive = [
            _PRESENT[name][0]
            for name, present in zip(FINDINGS, visit.findings, strict=True)
            if present
        ]
        impression = ". ".join(positive) + "." if positive else "No acute cardiopulmonary process."
        return ". ".join(said[place] for place in order) + ".", impression


def patients(count: int, *, seed: int = 0, visits: tuple[int, int] = (2, 4)) -> list[Patient]:
    """Return patients numbered from `seed` x 1,000,000, each with its visits in time order."""
    return [Patient.drawn(seed * 1_000_000 + number, visits) for number in range(count)]


def draw(
    number: int, anatomy: Mapping[str, float], findings: tuple[bool, ...], side: int
) -> tuple[Grey, NDArray[np.uint8]]:
    """Return the patient lying straight [H, W], and where ORGANS are, numbered from 1; 0: none."""
    a = anatomy
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    right_effusion, left_effusion, large_heart, nodule, opacity = findings
    grown = 1.42 if large_heart else 1.0
    body = _ellipse(x, y, (0.5, 0.62), (0.47 * a["wide"], 0.60 * a["tall"]))
    lungs = [
        _ellipse(x, y, (0.5 + way * a["gap"], 0.48), (a["lung"], 0.31 * a["tall"]))
        for way in (-1.0, 1.0)
    ]
    heart = _ellipse(x, y, (0.535, a["low"]), (a["heart"] * grown, 0.125 * (1 + (grown - 1) / 2)))
    coarse = gaussian_filter(np.random.default_rng([number, 2]).normal(size=(64, 64)), 2.2)
    texture = zoom(coarse, side / 64, order=1, grid_mode=True, mode="nearest")
    place = np.random.default_rng([number, 4]).uniform(-1, 1, 4)

    image = body * a["soft"]
    level = 0.48 + 0.31 * a["tall"] * 0.38
    for lung, effusion in zip(lungs, (right_effusion, left_effusion), strict=True):
        image = image * (1 - lung) + lung * (a["air"] + 0.16 * texture)
        if effusion:
            fluid = lung * _inside(level - y + 0.1 * np.abs(x - 0.5), side)
            image = image * (1 - 0.85 * fluid) + 0.85 * fluid * 0.62
    if nodule:
        centre = (0.5 - a["gap"] + 0.05 * place[0], 0.37 + 0.06 * place[1])
        spot = _ellipse(x, y, centre, (0.036, 0.036))
        image = image * (1 - spot) + spot * 0.72
    if opacity:
        far = ((x - 0.5 - a["gap"]) ** 2 + (y - 0.40 - 0.05 * place[2]) ** 2) / 0.01
        image = image + 0.36 * lungs[1] * np.exp(-far)
    arch = (y - a["bend"] * np.cos((x - 0.5) * 5)) * a["ribs"] * 1.35 + 0.7 * place[3]
    ribs = np.clip(np.cos(2 * np.pi * arch) - 0.45, 0, 1) * np.clip(lungs[0] + lungs[1], 0, 1)
    image = np.maximum(image + 0.16 * ribs, heart * (0.56 + 0.04 * texture))
    spine = _inside(np.abs(x - 0.5) - a["spine"], side) * body
    image = np.maximum(image, spine * 0.66)
    organs = np.zeros((side, side), np.uint8)
    for label, shape in enumerate((*lungs, heart), 1):
        organs[shape > 0.5] = label
    return np.clip(image, 0, 1), organs


def _inside(distance: Grey, side: int) -> Grey:
    """Return 1 within a shape, 0 outside; `distance`, a share of the side, is 0 on its edge."""
    return np.clip(0.5 - distance / (1.5 / side + 0.004), 0, 1)


def _ellipse(x: Grey, y: Grey, centre: tuple[float, float], radii: tuple[float, float]) -> Grey:
    """Return an ellipse with soft edges; all are shares of the side."""
    far = np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2)
    return _inside((far - 1) * min(radii), len(x))


def _moved_by(image: Grey, shift: tuple[float, float], degrees: float, *, order: int = 1) -> Grey:
    """Return an image turned about its middle, then shifted (1/256 of the side); black moves in."""
    side, angle = len(image), np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (side - 1) / 2)
    from_there = turn.T  # where an output's pixel comes from
    start = middle - from_there @ (middle + np.array(shift) * side / 256)
    moved: Grey = affine_transform(image, from_there, start, order=order, mode="constant")
    return moved


def truth_of(patient: Patient, visit: Visit) -> dict[str, Any]:
    """Return what is known of a film, in plain values."""
    return {
        "patient": patient.number,
        "day": visit.day,
        "findings": dict(zip(FINDINGS, visit.findings, strict=True)),
        "shift": list(visit.shift),
        "degrees": visit.degrees,
    }
