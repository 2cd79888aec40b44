"""The database: its engine, its tables and their migrations. Rows do not leave the repositories."""
