"""A row to a request."""
