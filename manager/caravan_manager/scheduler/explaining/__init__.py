"""Why sessions wait, what would help, and when they start."""
