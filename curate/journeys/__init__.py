"""Patients over time: dated studies become pairs of images, described, laid over each other."""
