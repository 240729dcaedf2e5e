"""The report of a run: an HTML page and what it loads, on how far to trust each case (`page.write_report`)."""
