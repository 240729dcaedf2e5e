"""What the user gives beside images and strokes: the support by its name, support mask, accepted label maps."""
