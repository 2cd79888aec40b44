"""Bring Caravan up as an operator would run it, on one machine or several: programs, servers, policies, jobs."""
