"""What every other package may use: errors, words of a command, small helpers. Imports nothing of ours."""
