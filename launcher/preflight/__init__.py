"""`preflight`: whether the nodes have what a deployment needs, before it is started there."""
