"""Guarded label correction: what may change is decided without truth, case by case and class by class."""
