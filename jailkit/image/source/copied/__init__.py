"""Copied programs (``copy.py``): what of a host belongs to a program so that it runs elsewhere, read from files alone.

``hosttree`` reads the host's files; ``elf``, ``loader`` and ``ldcache`` are what ld.so(8) does with them; ``glibc``,
``interpreters`` and ``packages`` know what else is loaded; ``closure`` puts it together."""
