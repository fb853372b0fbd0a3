"""Every way into an account, and what the kernel says of the process at its end."""
