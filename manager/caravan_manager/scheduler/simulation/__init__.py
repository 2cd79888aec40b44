"""What would have been: sessions of a trace under other rules or on other nodes, planned by the real planner."""
