"""Runs Caravan: gets the programs, starts Nomad, Consul and Vault on one machine, runs the platform jobs."""
