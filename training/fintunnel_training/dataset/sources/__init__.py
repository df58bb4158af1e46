"""Where news and prices come from: databases, files, the sample. They become typed records."""
