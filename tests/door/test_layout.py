"""Both sides of the entry, the session record and the meter are the same bytes."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

from jailkit.jail import meter, record

from .lab import Programs


def layout(programs: Programs) -> dict[str, tuple[int, int]]:
    done = subprocess.run([programs.path("layout")], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: (int(offset), int(size)) for name, offset, size in lines}


def offsets(form: struct.Struct, names: list[str]) -> dict[str, tuple[int, int]]:
    found, at = {}, 0
    parts = re.findall(r"\d*s|[a-zA-Z]", form.format.removeprefix("="))
    for name, part in zip(names, parts, strict=True):
        size = struct.calcsize("=" + part)
        found[name] = (at, size)
        at += size
    assert at == form.size
    return found


RECORD = [
    "magic",
    "size",
    "flags",
    "uid",
    "gid",
    "pid",
    "linger",
    "start",
    "userns",
    "user",
    "home",
    "shell",
    "sftp",
    "path",
    "cgroups",
    "events",
    "services",
    "image",
    "open_files",
    "sessions",
    "idle",
    "session",
    "expires",
    "nhours",
    "nsources",
    "hours",
    "sources",
    "nfilter",
    "pad",
]
METER = ["magic", "logins", "group", "seen", "cpu", "peak"]
SESSION = ["magic", "pid", "pad", "start", "time", "user", "service", "rhost", "tty", "auth"]


def test_record(programs: Programs) -> None:
    here = layout(programs)
    for name, place in offsets(record._HEAD, RECORD).items():
        assert here[f"record.{name}"] == place, name
    assert here["record.filter"] == (record._HEAD.size, 8 * record.MAX_FILTER)
    assert here["record"] == (0, record._HEAD.size + 8 * record.MAX_FILTER)


def test_session(programs: Programs) -> None:
    here = layout(programs)
    for name, place in offsets(record._SESSION, SESSION).items():
        assert here[f"session.{name}"] == place, name
    assert here["session"] == (0, record._SESSION.size)


def test_meter(programs: Programs) -> None:
    here = layout(programs)
    for name, place in zip(METER, [(0, 8), *((at, 8) for at in range(8, 48, 8))], strict=True):
        assert here[f"meter.{name}"] == place, name
    assert here["meter"] == (0, meter._METER.size)


def test_every_field_is_compared(programs: Programs) -> None:
    assert set(layout(programs)) == {
        "record",
        "record.filter",
        "session",
        "meter",
        *(f"meter.{name}" for name in METER),
        *(f"record.{name}" for name in RECORD),
        *(f"session.{name}" for name in SESSION),
    }


def test_constants() -> None:
    text = (Path(record.__file__).parents[1] / "login/door/record.h").read_text()
    defined = dict(re.findall(r'#define (\w+) "?(\w+?)u?"?\n', text))
    assert defined["RECORD_MAGIC"].encode() == record.MAGIC
    assert defined["SESSION_MAGIC"].encode() == record.SESSION_MAGIC
    assert defined["METER_MAGIC"].encode() == meter.MAGIC
    assert int(defined["MAX_FILTER"]) == record.MAX_FILTER
    assert int(defined["MAX_HOURS"]) == record.MAX_HOURS
    assert int(defined["MAX_SOURCES"]) == record.MAX_SOURCES
    assert int(defined["FLAG_HOST_NETWORK"]) == record.FLAG_HOST_NETWORK
