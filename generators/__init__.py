"""Generators: conditions in, pixels out. The only home of diffusers."""
