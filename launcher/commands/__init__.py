"""The commands, one module each; `command` in each is what launcher.cli calls."""
