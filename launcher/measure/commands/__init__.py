"""The commands that measure; imported when called, as those of launcher.commands."""
