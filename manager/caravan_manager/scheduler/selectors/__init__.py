"""Which node a session gets: one module a rule. Third parties add theirs by the entry-point group in `plugins.py`."""
