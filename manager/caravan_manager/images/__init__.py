"""Container images that sessions may run."""
