"""What can go wrong with ratings and their back ends in a way that a user can fix."""


class AnnotationError(Exception):
    """A rating back end cannot do what was asked; the message says what to do next."""
