"""Events to addresses of others: signed, retried, logged, and never into the building's own network unless allowed."""
