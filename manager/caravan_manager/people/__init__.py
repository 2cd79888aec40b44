"""Domains, projects, users, keypairs, and who may act as whom."""
