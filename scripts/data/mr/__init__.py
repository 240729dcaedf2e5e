"""From an MR's arbitrary intensities to values that every stage can read as it reads those of a CT."""
