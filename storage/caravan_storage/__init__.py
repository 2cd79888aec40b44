"""The storage proxy: virtual folders on real volumes, for the manager and for clients."""
