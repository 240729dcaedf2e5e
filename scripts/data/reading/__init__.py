"""Volumes and label maps from files: what lies in a folder, headers before voxels, one reader a format."""
