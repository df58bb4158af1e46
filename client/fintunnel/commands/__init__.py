"""The client's own commands of `fintunnel`."""
