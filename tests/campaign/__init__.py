"""The fault campaign: kills, damage, hostile strings and odd volumes, each either survived or lost."""
