"""What the host's apt is set up with: where packages come from, who signs them, how the mirrors are reached."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import JailkitError

_OPTION = re.compile(r'(Acquire::[A-Za-z0-9_.:/+-]+) "([^"\n]*)";')
_REACH = re.compile(
    r"Acquire::((https?|ftp|socks|tor|mirror)(::.*)?|Retries(::.*)?|ForceIPv[46]|Check-(Date|Valid-Until)|Max-FutureTime"
    r"|By-Hash|Queue-Mode|GzipIndexes|PDiffs)"
)
"""Options that say how a mirror is reached. None that allows what is not signed."""
_ONE_LINE = re.compile(r"deb(?:\s+\[(?P<options>[^]]*)\])?\s+(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SHA256 = 64
_SUFFIXES = ("", "-updates", "-security")


@dataclass(frozen=True)
class Entry:
    """One source of packages (sources.list(5)). signed_by: a keyring's path, a key itself, or "" for apt's own."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def stanza(self) -> str:
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {self.suite}", f"Components: {' '.join(self.components)}"]
        return "\n".join([*lines, *([f"Signed-By:{_folded(self.signed_by)}"] if self.signed_by else [])]) + "\n"


def _folded(value: str) -> str:
    first, *more = value.split("\n")
    return "".join([f" {first}" if first else "", *(f"\n {line or '.'}" for line in more)])


def codename(host_root: str = "/") -> str:
    """"bookworm": the suite that the host is of (os-release(5)). Raise ``host.suite``."""
    try:
        with open(os.path.join(host_root, "etc/os-release"), encoding="utf-8") as file:
            found = re.search(r'^VERSION_CODENAME="?([a-z-]+)"?$', file.read(), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        raise JailkitError("host.suite", "/etc/os-release does not say which suite this host is of", "set suite")
    return found[1]


def entries(host_root: str = "/") -> list[Entry]:
    """All enabled sources of binary packages. A file that is not as sources.list(5) has it is passed over, as by apt
    with a warning."""
    top = os.path.join(host_root, "etc/apt")
    names = ["sources.list"]
    if os.path.isdir(f"{top}/sources.list.d"):
        names += [f"sources.list.d/{name}" for name in sorted(os.listdir(f"{top}/sources.list.d"))]
    found: list[Entry] = []
    for name in names:
        try:
            with open(f"{top}/{name}", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        if name.endswith(".list"):
            found += _one_line(text)
        elif name.endswith(".sources"):
            found += _deb822(text)
    return found


def _one_line(text: str) -> Iterator[Entry]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is not None:
            options = dict(part.split("=", 1) for part in (match["options"] or "").split() if "=" in part)
            yield Entry(match["uri"], match["suite"], tuple(match["components"].split()), options.get("signed-by", ""))


def _deb822(text: str) -> Iterator[Entry]:
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(line for line in text.splitlines() if not line.startswith("#"))):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + ("" if line.strip() == "." else line[1:])
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Entry(uri, suite, tuple(fields.get("components", "").split()), fields.get("signed-by", ""))


def for_suite(suite: str, components: list[str], host_root: str = "/") -> list[Entry]:
    """The host's sources of its own release, turned to ``suite``: its main archive, updates and security, where they
    have one of ``components``. Another's repository beside them (of another suite or other components) is left out."""
    own = codename(host_root)
    found = []
    for entry in entries(host_root):
        wanted = tuple(name for name in components if name in entry.components)
        for suffix in _SUFFIXES:
            if entry.suite == own + suffix and wanted:
                found.append(Entry(entry.uri, suite + suffix, wanted, entry.signed_by))
    return list(dict.fromkeys(found))


def reach() -> str:
    """How the host's apt reaches mirrors (proxies, time-outs, whether clocks are compared), as apt.conf(5) text."""
    try:
        done = subprocess.run(
            ["/usr/bin/apt-config", "dump"], env=_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise JailkitError("host.apt", f"apt-config does not work: {error}", "apt-config dump") from None
    lines = [match for line in done.stdout.splitlines() if (match := _OPTION.fullmatch(line)) and match[2]]
    return "".join(f"{match[0]}\n" for match in lines if _REACH.fullmatch(match[1]))


def packages(found: list[Entry], host_root: str = "/") -> list[str]:
    """SHA-256 of the package lists of ``found``, as the host's last ``apt update`` saw them; "" where it has not."""
    machine = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    seen = []
    for entry in found:
        address = entry.uri.partition("://")[2].strip("/").replace("/", "_")
        path = os.path.join(host_root, f"var/lib/apt/lists/{address}_dists_{entry.suite}_InRelease")
        wanted = {f"{name}/binary-{machine}/Packages" for name in entry.components}
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file if line.startswith(" ")]
        except OSError:
            lines = []
        sums = [line[0] for line in lines if len(line) == 3 and line[2] in wanted and len(line[0]) == _SHA256]
        seen.append(" ".join(sums))
    return seen


def keyrings(found: list[Entry], host_root: str = "/") -> str:
    """SHA-256 (hex) over the keys that ``found`` are signed with: which ones are trusted is part of what is built."""
    digest = hashlib.sha256()
    names = [entry.signed_by for entry in found]
    trusted = os.path.join(host_root, "etc/apt/trusted.gpg.d")
    if "" in names and os.path.isdir(trusted):
        names += [f"/etc/apt/trusted.gpg.d/{name}" for name in sorted(os.listdir(trusted))]
    for name in dict.fromkeys(names):
        digest.update(name.encode() + b"\0")
        for path in name.split(",") if name.startswith("/") else ():
            try:
                with open(host_root.rstrip("/") + path.strip(), "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError:
                digest.update(b"missing")
    return digest.hexdigest()
