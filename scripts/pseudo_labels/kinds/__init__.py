"""Tubes, bones and hollow organs on the support: from an image, strokes and a map of blobs to a map by kind."""
