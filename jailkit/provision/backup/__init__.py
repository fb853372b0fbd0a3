"""Backups: a tar of what is one jail's own, written and unpacked by processes that have only her ids and her files.

    backup    read.py (her ids) -> tarout.py, a tar -> pack.py (nobody's) -> root, into the file
    restore   the file -> parse.py (nobody's): judged as a whole; then again -> fill.py (her ids), beside the old home
    clone     read.py (the one's ids) -> descriptors, over a socket -> fill.py (the other's)

Root opens the directories and the file, and sees bytes, counts and names: it resolves no path of hers, unpacks nothing
and runs none of her programs. process.py starts the processes, which are those of image/sandbox/confine.py."""
