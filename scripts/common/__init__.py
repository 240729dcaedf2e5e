"""What every package uses: errors, whole files, processes, boxes and overlap."""
