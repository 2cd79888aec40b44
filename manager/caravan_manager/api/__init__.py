"""The doors of the manager: REST and GraphQL translate and call services; no rule and no SQL is here."""
