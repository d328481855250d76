"""What can go wrong with a generator in a way that a user can fix."""


class GeneratorError(Exception):
    """A generator cannot do what was asked; the message says what to do next."""
