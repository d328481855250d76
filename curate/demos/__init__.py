"""Demos: a family's whole circle on data that the package has or makes itself."""
