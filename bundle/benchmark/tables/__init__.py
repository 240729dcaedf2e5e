"""Markdown from the raw results and from nothing else: pure functions, so the committed pages can be checked."""
