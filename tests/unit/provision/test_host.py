"""What a look without the lock makes of another process's half-done work."""

from __future__ import annotations

import pytest

from jailkit.errors import JailkitError
from jailkit.paths import Paths
from jailkit.provision.asked import Add
from jailkit.provision.host import Host, Plan
from jailkit.spec.settings import jail_spec


@pytest.mark.parametrize("code", ["interrupted.phase", "conflict.group-exists", "conflict.account-exists"])
@pytest.mark.parametrize("real", [False, True])
def test_a098_what_another_has_half_done_is_judged_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, code: str, real: bool
) -> None:
    host, judged = Host(Paths(str(tmp_path))), []
    made = Plan("alice", "add", ())

    def judge(request: Add, view: object = None) -> Plan:
        judged.append(request)
        if real or len(judged) == 1:
            raise JailkitError(code, "so it looks")
        return made

    monkeypatch.setattr(host, "_judged_add", judge)
    if real:
        with pytest.raises(JailkitError, match="so it looks"):
            host.plan(jail_spec("alice"))
    else:
        assert host.plan(jail_spec("alice")) is made
    assert len(judged) == 2


def test_another_refusal_is_final(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    host, judged = Host(Paths(str(tmp_path))), []

    def judge(request: Add, view: object = None) -> Plan:
        judged.append(request)
        raise JailkitError("missing.template", "so it is")

    monkeypatch.setattr(host, "_judged_add", judge)
    with pytest.raises(JailkitError, match="so it is"):
        host.plan(jail_spec("alice"))
    assert len(judged) == 1
