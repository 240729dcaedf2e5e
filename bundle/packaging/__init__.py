"""A folder and a zip as the MONAI model zoo wants them: the bundle's own network, or one that a user trained."""
