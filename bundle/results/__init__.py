"""The table that a run leaves for spreadsheets and programs: one row a case and class (`table.ResultTable`)."""
