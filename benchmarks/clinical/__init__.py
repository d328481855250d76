"""What clinical generators learn, measured on chests whose effects are known."""
