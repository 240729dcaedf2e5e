"""`python -m bundle suggest`: which volume is best scribbled, before anything is drawn."""
