"""Other machines of a stack: the server invites and expels them, they join and leave."""
