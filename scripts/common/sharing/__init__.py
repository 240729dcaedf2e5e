"""Work on cases that does not say where it is done: in this process, or by the worker processes of a command."""
