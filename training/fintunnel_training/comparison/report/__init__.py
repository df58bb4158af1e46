"""From a `ComparisonResult` to files for people: `write.write_report` writes them, `summary.summary` says it in a few
sentences."""
