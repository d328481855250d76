"""The options of each command, and their help; a file a group of commands.

What a command needs is imported inside it, so that `--help` is instant.
"""
