"""Tables and self-contained HTML reports of evaluated runs."""

from equissl.reporting.report import format_table, write_report

__all__ = ["format_table", "write_report"]
