"""`fintunnel dataset check`: what is wrong with an instruction file, anybody's."""
