"""What the user gives: a run's options, the support by its name, support mask, accepted label maps."""
