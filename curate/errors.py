"""What a user can fix in the workflow, and the tuple of all such errors."""

from annotation.errors import AnnotationError
from db.errors import StoreError
from generators.errors import GeneratorError
from rewards.errors import RewardError


class CurateError(Exception):
    """The workflow cannot do what was asked; the message says what to do next."""


# What cli.py shows as one line; anything else is a bug and keeps its traceback.
USER_ERRORS = (CurateError, StoreError, GeneratorError, RewardError, AnnotationError)
