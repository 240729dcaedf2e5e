"""Worker processes for the work that is done case by case: Dask's, on this machine or on others."""
