"""What serves the sockets of running jails from outside: one process for the whole host, without privilege.

    starter (jail/connect.py) --jail, kinds, descriptors--> parent (root, parent.py) --the same--> worker (worker.py)
                                                            keeps them, starts the     reads jails' sockets, writes
                                                            worker anew if it dies     the host's log, asks resolvers

The parent reads nothing that a tenant wrote. It holds the descriptors, so that a worker that crashed loses nothing but
what it was just working on, and does the two things that need a path: the host's log socket and resolv.conf. It ends
with the last jail that it serves. Should the parent itself be killed, the sockets close: loggers in jails get
ECONNREFUSED and go on, lookups fail at once, and `doctor` says which jails to start again.

A broker (mail, passwd, crontab) is a kind of its own: its socket is made beside ``/dev/log`` (jail/connect.py), its
name goes into :data:`worker.KINDS` if it needs no right, which then reads typed arguments and stamps them with the
jail's name as logs.py does. One that needs root's rights or an account's must not live in the worker: the parent would
hand its sockets to a second worker with rights of its own.
"""
