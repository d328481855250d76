"""Whether progress and remarks are wanted beside results. Standard library only."""

from contextvars import ContextVar

QUIET: ContextVar[bool] = ContextVar("QUIET", default=False)
