"""Propagated points: what they are, which are kept, how they are recorded."""
