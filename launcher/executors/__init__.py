"""Executors: hand a script to Slurm, or start it on this machine."""
