"""What can go wrong: a stable code, a sentence, a hint, and an exit number.

The library raises :class:`JailkitError`; only ``cli/`` prints it and exits. At login the user sees
one dull line and the log gets the code. ``docs/exit-codes.md`` is checked against :data:`EXITS`.
"""

from __future__ import annotations

EXITS: dict[str, tuple[int, str]] = {
    # family of the code: (exit number, what it means)
    "internal": (1, "a bug in jailkit: please report it"),
    "usage": (2, "the command line is wrong"),
    "missing": (3, "no such jail, template, image or file"),
    "conflict": (4, "it exists already, or differs from what was asked"),
    "invalid": (5, "a name, spec, template, key or configuration is not valid"),
    "host": (6, "this host cannot do it: kernel, sshd, PAM, or a missing program"),
    "busy": (7, "another jailctl works on it, or something still uses it"),
    "unsafe": (8, "refused: a path, an owner or a mode could be abused"),
    "io": (9, "reading or writing failed: disk full, read-only, broken"),
    "interrupted": (10, "stopped half way; the next run finishes or undoes it"),
    "login": (11, "a login was refused, or the login test failed"),
    "jail": (12, "a jail could not be started, entered or stopped"),
    "denied": (13, "this needs root"),
}
EXIT_DOCTOR_WARN = 20
EXIT_DOCTOR_FAIL = 21
EXIT_INTERRUPT = 130
"""``jailctl doctor``: the worst finding was a warning / a failure. 130: stopped by ^C.

``exec`` and ``enter`` exit with the status of the command that ran in the jail (128 + n for signal n).
"""


class JailkitError(Exception):
    """A refusal or a failure that an administrator can act on.

    code: ``family.what``, stable across releases; the family is a key of :data:`EXITS`.
    message: one sentence that says what, where and why, without a final full stop.
    hint: the next command or step, or an empty string.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        if code.partition(".")[0] not in EXITS:
            raise ValueError(f"unknown error family in {code!r}")
        self.code = code
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.message, self.hint)  # for those that come from another process

    @property
    def exit_number(self) -> int:
        return EXITS[self.code.partition(".")[0]][0]


class InvalidFile(JailkitError):
    """Every error of one file at once.

    errors: ``(path in the file, sentence)`` pairs, such as ``("network", "must be 'none' or 'host'")``.
    lines: of each, from 1, where it is known; the message has them as compilers do: ``FILE:LINE: path: sentence``.
    """

    def __init__(
        self,
        code: str,
        file: str,
        errors: list[tuple[str, str]],
        hint: str = "",
        lines: list[int | None] | None = None,
    ) -> None:
        self.file = file
        self.errors = errors
        self.lines = lines
        if lines is None:
            told = [f"{file}: at '{where}': {what}" if where else f"{file}: {what}" for where, what in errors]
        else:
            told = [_told(file, line, where, what) for line, (where, what) in zip(lines, errors, strict=True)]
        super().__init__(code, "\n".join(told), hint)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.file, self.errors, self.hint, self.lines)


def _told(file: str, line: int | None, where: str, what: str) -> str:
    place = file if line is None else f"{file}:{line}"
    return ": ".join(part for part in (place, where, what) if part)


class InvalidFiles(InvalidFile):
    """Every error of several files at once. failures: one for each file; ``errors`` has those of all."""

    def __init__(self, failures: list[InvalidFile]) -> None:
        first = failures[0]
        self.failures = failures
        errors = [error for failure in failures for error in failure.errors]
        super().__init__(first.code, first.file, errors, next((f.hint for f in failures if f.hint), ""))
        self.message = "\n".join(failure.message for failure in failures)
        self.args = (self.message,)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.failures,)


def together(failures: list[InvalidFile]) -> InvalidFile:
    """One error of the given ones, of which there is at least one."""
    return failures[0] if len(failures) == 1 else InvalidFiles(failures)
