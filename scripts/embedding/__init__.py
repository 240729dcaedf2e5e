"""Dense anatomical embeddings: how they are learnt, and computed over a volume."""
