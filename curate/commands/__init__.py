"""What commands of several steps do, between `cli.py`'s options and the workflow."""
