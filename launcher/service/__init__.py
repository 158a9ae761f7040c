"""A service: a chain of jobs under one name, each of which hands its requests over to the next."""
