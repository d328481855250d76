"""One file a command, or a group of them: its options, one call, and the lines that it prints.

What a command needs is imported inside it, so that `--help` and refusals are instant.
"""
