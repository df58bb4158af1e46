"""What stands between strangers and the model: keys, rates, sizes, headers. No model here."""
