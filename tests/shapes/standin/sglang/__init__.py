"""Stands in for SGLang where there is no GPU: a server with its flags, addresses and routes, no model."""
