"""How the bytes of files travel between clients and volumes."""
