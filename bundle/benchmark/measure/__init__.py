"""Runs the method on a labelled cohort and scores it; every measured thing is one line of the raw results."""
