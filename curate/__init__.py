"""The workflow: the only folder that knows all the others."""

__version__ = "0.2.0"
