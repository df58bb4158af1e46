"""`fintunnel dataset stats` and `preview`: an instruction file for the eyes."""
