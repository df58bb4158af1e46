"""How the server lives: connections, logs, metrics, and its orderly end."""
