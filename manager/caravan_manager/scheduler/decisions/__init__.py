"""What the passes decided and from what: kept for a while, and planned again on demand."""
