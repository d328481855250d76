"""Label Studio's own start, with two of its settings changed.

An SQLite that many raters at once do not find locked: as shipped, a reader keeps writers out for
as long as it reads, and a transaction that begins to read and then wants to write is told at once
that the database is locked: the rater sees status 500.

Sessions that end: as shipped, a session is its signed cookie, and a copy of it goes on after the
rater has logged out. Kept in the database, it is gone.
"""

import os
import sys

LOCK_WAIT_S = 60  # longer than any request of Label Studio takes
SQLITE = {
    "timeout": LOCK_WAIT_S,
    "transaction_mode": "IMMEDIATE",  # waits for the lock where it could still be had
    "init_command": "PRAGMA journal_mode=WAL;",  # readers and the writer do not wait
}


def main() -> None:
    """Change the settings before anything connects, and start as `label-studio` does."""
    import label_studio

    sys.path.insert(0, os.path.dirname(label_studio.__file__))
    os.environ["DJANGO_SETTINGS_MODULE"] = "label_studio.core.settings.label_studio"
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database["OPTIONS"] = SQLITE
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"

    from label_studio import server

    server.main()


if __name__ == "__main__":
    main()
