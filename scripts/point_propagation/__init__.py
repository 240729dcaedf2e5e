"""Mode `paper`: scribbles located point by point (sections 2.1 and 2.2)."""
