"""Bring Caravan up on one machine as an operator would run it: programs, servers, policies, platform jobs."""
