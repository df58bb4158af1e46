"""The two backends: what each is asked, and what its answers become. No network here but for `ngrok_api`."""
