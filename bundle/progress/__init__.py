"""How far a run is: its stages, the file that tells of them, and what a terminal shows."""
