"""Cohorts on disk with labels for scoring, and the synthetic one."""
