"""What every HTTP service of curate shares; and what pages share, the report's too."""

from pathlib import Path

PARTS = Path(__file__).parent  # of parts.html and parts.css
