"""Keeps PostgreSQL and the nodes in agreement: streams are hints, the comparison is the truth."""
