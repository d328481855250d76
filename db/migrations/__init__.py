"""The tables' history, run by `db.engine.migrate`; see env.py and versions/."""

HEAD = "0011"  # the newest revision in versions/
