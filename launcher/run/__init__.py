"""A run seen from outside: its folder, its state, what it answers when it is asked."""
