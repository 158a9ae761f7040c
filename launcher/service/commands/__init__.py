"""Commands of services."""
