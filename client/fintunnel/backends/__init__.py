"""The two backends: what each is asked, and what its answers become. Pure but for `address` and `ngrok_api`."""
