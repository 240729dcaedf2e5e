"""Golden results: what the whole chain gives with the shipped weights, recorded before a change and compared after it.

`python -m tests.golden record` writes them, `python -m tests.golden compare` says what differs.
"""
