"""Whom a loop's campaigns ask, and where those rate: one protocol, whoever they are."""

from dataclasses import dataclass

from annotation.base import RaterProfile, RatingBackend
from curate.rating.backends import backend_that_is_up
from curate.rating.config import LOCAL, SIMULATED
from curate.rating.eyes import RaterEyes
from curate.rating.label_studio import BACKEND
from curate.rating.people import active_profiles
from curate.rating.simulate import simulated_backend, simulated_raters
from curate.workspace import Workspace
from db.models import Campaign


@dataclass(frozen=True, kw_only=True)
class Raters:
    """Simulated raters who look through `eyes`, or, without any, the invited people."""

    eyes: RaterEyes | None = None
    count: int = 3  # of simulated ones
    images_from: str = LOCAL  # where people's pictures come from

    @property
    def backend(self) -> str:
        """Return what their campaigns' rows say."""
        return SIMULATED if self.eyes else BACKEND

    def profiles(self, ws: Workspace) -> list[RaterProfile]:
        """Return who a new campaign asks; CurateError when there is nobody."""
        if self.eyes is None:
            return active_profiles(ws, ())
        return simulated_raters(self.count, self.eyes.identity)

    def open(self, ws: Workspace, campaign: Campaign) -> RatingBackend:
        """Return where they rate this campaign; NoRatingPage when it is not there."""
        if self.eyes is None:
            return backend_that_is_up(ws)
        return simulated_backend(ws, campaign, self.eyes)
