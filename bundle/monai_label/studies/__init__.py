"""The studies that the server offers, and their labels: a folder of NIfTI, of other formats, or a DICOMweb server."""
