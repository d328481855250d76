"""Releases: a vetted set as a folder that proves itself and can be made again."""
