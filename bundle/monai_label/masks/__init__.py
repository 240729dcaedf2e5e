"""Support masks grown from strokes while the user looks on, in one process that stays."""
