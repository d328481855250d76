"""Ratings become a reward model; images get scores; thresholds are calibrated."""
