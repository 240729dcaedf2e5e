"""Ignite handlers that any training may use."""
