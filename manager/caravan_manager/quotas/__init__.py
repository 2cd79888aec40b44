"""Quotas: how much of the slots, and how many sessions, a keypair, user, project or domain may have."""
