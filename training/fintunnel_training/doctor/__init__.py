"""What this machine can do: checked before an hour is spent on it."""
