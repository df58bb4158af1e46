"""Report questions, simulated and over the user's own reports, each answer checked against its passages."""
