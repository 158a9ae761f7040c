"""The one guarded address of a deployment: its keys, its routes, and Caddy's config for them."""
