"""Running Sealpost: the CLI, composed settings, roles, the embedded parts and their supervisor. Nothing imports this package."""
