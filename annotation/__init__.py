"""People's verdicts: where they come from, how they are written down, how far they agree."""
