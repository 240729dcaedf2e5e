"""From files to checked volumes, cases, a cohort and its cache."""
