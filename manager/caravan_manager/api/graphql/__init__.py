"""The GraphQL door: one `<subject>.graphql` with its `<subject>.py`, and what reads, bounds and answers documents."""
