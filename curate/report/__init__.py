"""The story of a workspace as one page."""

from curate.report.page import write_report

__all__ = ["write_report"]
