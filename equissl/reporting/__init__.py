"""Tables and self-contained HTML reports of evaluated runs."""

from equissl.reporting.report import write_report
from equissl.reporting.table import format_table

__all__ = ["format_table", "write_report"]
