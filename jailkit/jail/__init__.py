"""One jail's life: start, stop, enter. Lies on the login path: nothing heavy is imported."""
