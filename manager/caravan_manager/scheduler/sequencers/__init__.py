"""Who is looked at first: one module a rule. Third parties add theirs by the entry-point group in `plugins.py`."""
