"""The tables' history, run by `db.engine.migrate`; see env.py and versions/."""
