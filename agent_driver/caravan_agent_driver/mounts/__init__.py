"""Ways of putting a folder into a kernel, one module each, and the system calls below them."""
