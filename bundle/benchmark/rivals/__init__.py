"""Registration by other packages, given the support's true label map: what a user would have had instead."""
