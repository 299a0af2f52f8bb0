"""One folder a channel, always with the same files; nothing outside names a channel but its entry point."""
