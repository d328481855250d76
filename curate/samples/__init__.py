"""Stored samples: pixels, features, neighbours."""
