"""What a user of generators can put right."""


class GeneratorError(Exception):
    """A generator cannot do what was asked; the message says what to do next."""
