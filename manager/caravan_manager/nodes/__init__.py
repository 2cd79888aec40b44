"""Nodes, as their agents report them, and the scaling groups that they form."""
