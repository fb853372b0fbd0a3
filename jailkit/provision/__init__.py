"""From facts and specs to plans, and from plans to jails: accounts, keys, homes, state."""
