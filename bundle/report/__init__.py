"""The report of a run: one self-contained HTML page that says how far to trust each case.

`collect` reads the work directory, `trouble` ranks the cases, `pictures` and `charts` draw, `header`, `overview`,
`support`, `cases` and `process` write the sections of the `page`.
"""

from bundle.report.page import write_report

__all__ = ["write_report"]
