"""Label maps of DICOM series as DICOM: segmentations (SEG) and RT structure sets (RTSTRUCT)."""
