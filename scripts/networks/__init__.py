"""The networks, how trained ones are loaded by their card, and how they are run."""
