"""Virtual folders: who owns them, and what users may ask of them. Their files are the storage proxy's."""
