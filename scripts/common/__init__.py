"""What every package uses: errors, whole files, what they were made of, their paths, grids, boxes and processes."""
