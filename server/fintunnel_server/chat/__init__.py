"""`/v1/chat/completions` without its route: prompt, sampling, stop strings, and OpenAI's objects."""
