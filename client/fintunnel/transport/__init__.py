"""HTTP as the client needs it: one call with deadlines and retries, all failures as typed errors."""
