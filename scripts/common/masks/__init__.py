"""Masks of classes: how many connected parts they are in, and which of them stay."""
