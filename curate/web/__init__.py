"""What every HTTP service of curate shares."""
