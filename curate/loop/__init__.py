"""Rounds of the loop, and what decides whether a round's new version is kept."""
