"""What two or more rooms of Caravan need: its vocabulary, its errors, and how a process is run."""
