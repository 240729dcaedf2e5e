"""From what the user asked for to stages that run only where something changed."""
