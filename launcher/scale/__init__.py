"""Worker groups in jobs of their own that join a deployment which runs: what such a job does."""
