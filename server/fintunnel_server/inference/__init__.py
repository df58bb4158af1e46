"""Many conversations through one model in this process: passes, memory, adapters, scheduling."""
