"""A MONAI Label app: scribble on one study, press Train, get labels for all of them.

Only `app.py` needs MONAI Label, which lives in an environment of its own (`make monai-label`).
"""
