"""The doors: one for managers, one for clients."""
