"""The report of a run: one self-contained HTML page that says how far to trust each case (`page.write_report`)."""
