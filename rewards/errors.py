"""What can go wrong with a reward model in a way that a user can fix."""


class RewardError(Exception):
    """A reward model cannot do what was asked; the message says what to do next."""
