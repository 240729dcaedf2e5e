"""Measurements on labelled cohorts: `measure` scores, `tables` words them for `docs/`, `release` ships weights."""
