"""Caravan's own services as Nomad jobs: their secrets, their job files, the kernel image, the first admin."""
