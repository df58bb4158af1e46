"""What `fintunnel compare` writes and says at its end."""
