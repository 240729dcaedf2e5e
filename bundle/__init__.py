"""What drives the bundle: command line, pipeline, report, benchmarks, packages, MONAI Label app."""
