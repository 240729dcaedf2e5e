"""Trained networks of a benchmark become the named weights in `models/`, each with a card that says what they reach."""
