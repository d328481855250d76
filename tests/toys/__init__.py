"""Families that another package might bring: one file each, found by an entry point."""
