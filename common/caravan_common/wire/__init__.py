"""Messages between rooms: one module per callee."""
