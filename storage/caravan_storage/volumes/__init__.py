"""Where folders lie: what a volume can do, one file per backend, and the only code that opens users' paths."""
