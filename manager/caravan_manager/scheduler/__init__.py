"""The scheduler: a pure plan of a snapshot, and the loop that carries plans out."""
