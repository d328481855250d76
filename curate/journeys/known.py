"""What is known of procedural films: the true answer to every "what if", and a reading of edits."""

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curate.journeys.demo import FOLDER, TRUTH
from curate.journeys.findings import progression, read_statements
from curate.journeys.phantoms import FINDINGS, NOISE, Grey, Patient, Visit
from curate.workspace import Workspace

VISITS = (2, 4)  # as the demo draws them
SEEN = 0.02  # a change of a pixel, of 0 .. 1, that counts as one


@dataclass(frozen=True)
class KnownFilm:
    """A film of the demo, its patient and its visit."""

    patient: Patient
    visit: Visit

    def shown(self, findings: tuple[bool, ...], side: int) -> Grey:
        """Return this very film, had the patient had these findings: no grain, 0 .. 1."""
        visit = replace(self.visit, findings=findings)
        return np.clip(self.patient.without_grain(visit, side), 0, 1)

    def taken_again(self, side: int) -> Grey:
        """Return a second film of the same day and position: other exposure, other grain."""
        random = np.random.default_rng([self.patient.number, self.visit.grain, 11])
        gain, offset = random.uniform(0.95, 1.05), random.uniform(-0.03, 0.03)
        again = replace(self.visit, gain=float(gain), offset=float(offset))
        exposed = self.patient.without_grain(again, side)
        return np.clip(exposed + random.normal(0, NOISE, exposed.shape), 0, 1)

    def region(self, findings: tuple[bool, ...], side: int) -> NDArray[np.bool_]:
        """Return where the film would differ if the patient had these findings."""
        change = self.shown(findings, side) - self.shown(self.visit.findings, side)
        return np.abs(change) > SEEN

    def reading(self, image: Grey, wanted: tuple[bool, ...]) -> list[float]:
        """Return how much of each finding an image shows: 0 is without it, 1 is as drawn.

        The share of the drawn difference that makes the smallest squared error, all other findings
        as they are wanted. No network has a part in it.
        """
        values = []
        for place in range(len(FINDINGS)):
            both = [
                self.shown((*wanted[:place], state, *wanted[place + 1 :]), len(image))
                for state in (False, True)
            ]
            drawn = both[1] - both[0]
            values.append(float(((image - both[0]) * drawn).sum() / (drawn**2).sum()))
        return values

    def change_to(self, findings: tuple[bool, ...]) -> str:
        """Return in words what changed if the patient came to have these findings."""
        both = (self.report(each) for each in (self.visit.findings, findings))
        text, _ = progression(*(read_statements(report) for report in both))
        return text

    def report(self, findings: tuple[bool, ...]) -> str:
        """Return the report of this film, had the patient had these findings."""
        return "\n".join(self.patient.report(replace(self.visit, findings=findings)))


def flipped(findings: tuple[bool, ...], place: int) -> tuple[bool, ...]:
    """Return the findings with one of them the other way."""
    return (*findings[:place], not findings[place], *findings[place + 1 :])


def known_films(ws: Workspace) -> dict[str, KnownFilm]:
    """Return the demo's films by their path in its folder; none where there is no demo."""
    path = ws.folder / FOLDER / TRUTH
    if not path.is_file():
        return {}
    found = {}
    for name, truth in json.loads(path.read_text(encoding="utf-8")).items():
        patient = Patient.drawn(int(truth["patient"]), VISITS)
        [visit] = [one for one in patient.visits if one.day == truth["day"]]
        found[name] = KnownFilm(patient, visit)
    return found
