"""What the method costs: time and memory of single steps, of one case, and of many cases."""
