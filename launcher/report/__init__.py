"""What a run leaves for people: why it failed, and a page that shows it."""
