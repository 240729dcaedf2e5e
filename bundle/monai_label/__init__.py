"""A MONAI Label app: scribble on one study, press Train, get labels for all; it has an environment of its own."""
