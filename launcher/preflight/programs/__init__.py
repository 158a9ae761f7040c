"""Programs that stand alone: sent as text to the workers' Python, which has nothing of ours."""
