"""The manager: the API, the queue, the scheduler, and what keeps PostgreSQL and Nomad in agreement."""
