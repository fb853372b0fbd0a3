"""Read-only roots, shared by all jails of a template and named by the digest of what is in them."""
