"""Thin typed bindings to the kernel. Knows nothing of jails, and imports nothing heavy: it lies on the login path."""
