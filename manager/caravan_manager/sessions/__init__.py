"""Compute sessions and their kernels: what they are, how they move, and what users may ask of them."""
