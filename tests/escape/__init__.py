"""One file for each way out that was ever tried on a jail, with where it was first found.

Case numbers: shared/attacks.md. Each probe first succeeds for somebody without a jail. What happened is judged from the
host: by its files, its /proc, its log.
"""
