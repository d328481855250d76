"""What can go wrong with rows and files in a way that a user can fix."""


class StoreError(Exception):
    """The database or the file store cannot do what was asked; the message says what to do next."""


class ConnectionLost(StoreError):
    """The database went away: what was not committed is to be done again, when it is back."""
