"""The algorithms, one a file: how images are made, and what loss their rewards become."""
