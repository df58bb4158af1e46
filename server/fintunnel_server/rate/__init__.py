"""The page on which people compare answers blindly: `python -m fintunnel_server.rate FILE`, for this machine alone.

FILE is a `fintunnel.rating_file`. No model here, and nothing that a browser gets tells which system an answer is from.
"""
