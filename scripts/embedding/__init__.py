"""Dense anatomical embeddings: how they are learnt, computed over a volume, and where their cells lie."""
