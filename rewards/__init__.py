"""Pixels to a number with an uncertainty."""
