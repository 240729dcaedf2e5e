"""Which place of one body is which of another."""
