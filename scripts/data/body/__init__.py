"""Where the body is, once it is known what is as dense, or as bright, as tissue."""
