"""Where a place of one body lies in another: from embeddings to an affine map, from it to displacements."""
