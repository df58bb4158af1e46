"""From a request to an analysis: scored where the engine continues answers, written as JSON where it does not."""
