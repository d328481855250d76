"""Why a row of an import is refused."""


class Refused(ValueError):
    """A row cannot be taken; the message is the reason, shown beside its file and line."""
