"""The fragment: what is rendered, what it means, and what cannot be put into it (attacks A124)."""

from __future__ import annotations

import pytest

from jailkit.errors import JailkitError
from jailkit.login import sshd, sshd_config
from jailkit.login.render import render
from jailkit.paths import Paths

IN_MATCH = {
    # sshd_config(5) of OpenSSH 9.2, "Match": what may stand there, and has a meaning for us
    "acceptenv",
    "allowagentforwarding",
    "allowstreamlocalforwarding",
    "allowtcpforwarding",
    "authorizedkeysfile",
    "chrootdirectory",
    "disableforwarding",
    "exposeauthinfo",
    "forcecommand",
    "gatewayports",
    "hostbasedauthentication",
    "ignorerhosts",
    "permitemptypasswords",
    "permitlisten",
    "permitopen",
    "permittty",
    "permittunnel",
    "permituserrc",
    "streamlocalbindunlink",
    "x11forwarding",
}


def test_the_fragment() -> None:
    want = sshd.wanted(sshd.fragment(Paths("/")))
    assert set(want) == IN_MATCH
    assert want["forcecommand"] == "/opt/jailctl/libexec/door"
    assert want["authorizedkeysfile"] == "/etc/jailctl/keys/%u"
    closed = [
        "allowagentforwarding",
        "allowstreamlocalforwarding",
        "allowtcpforwarding",
        "x11forwarding",
        "permittunnel",
        "gatewayports",
        "permituserrc",
        "hostbasedauthentication",
    ]
    assert {want[key] for key in closed} == {"no"}
    assert want["disableforwarding"] == "yes"  # and each by itself: CVE-2025-32728


def test_the_fragment_for_those_with_files_only() -> None:
    """What the second block says holds for them as well, where the first says nothing."""
    text = sshd.fragment(Paths("/"))
    want, shell = sshd.wanted(text, chroot=True), sshd.wanted(text)
    own = {
        "forcecommand": "internal-sftp -d /files",
        "chrootdirectory": "/run/jailctl/jails/%U/chroot",
        "permittty": "no",
    }
    assert want == {**shell, **own}
    assert (shell["chrootdirectory"], shell["permittty"]) == ("none", "yes")


def test_nothing_stands_outside_the_match_blocks() -> None:
    lines = [(keyword, arguments) for _, keyword, arguments in sshd_config.parse(sshd.fragment(Paths("/")))]
    assert lines[0] == ("match", ("Group", "jailed-chroot"))
    assert [arguments for keyword, arguments in lines if keyword == "match"][1:] == [("Group", "jailed")]


def test_another_root() -> None:
    text = sshd.fragment(Paths("/srv/test"))
    assert "ForceCommand /srv/test/opt/jailctl/libexec/door\n" in text


@pytest.mark.parametrize("root", ["/a b", "/a%h", '/a"', "/a\nMatch all", "/a#b", "/ä", "/a{{7*7}}", "/a$(id)"])
def test_a_root_that_would_mean_something_to_sshd_is_refused(root: str) -> None:
    with pytest.raises(JailkitError) as caught:
        sshd.fragment(Paths(root))
    assert caught.value.code == "invalid.root"


def test_an_unknown_template() -> None:
    with pytest.raises(JailkitError) as caught:
        render(Paths("/nowhere"), "ssh/none.j2")
    assert caught.value.code == "missing.file"


def test_a_candidate_takes_our_place_and_only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["/etc/ssh/sshd_config.d/00-first.conf", "/etc/ssh/sshd_config.d/50-cloud.conf"]
    monkeypatch.setattr(sshd_config, "included", lambda patterns: files if "sshd_config.d" in patterns[0] else [])
    text = "Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\nInclude /etc/other/*.conf\nUsePAM yes\n"
    assert sshd._with_candidate(text, "/run/new") == (
        'Port 22\nInclude "/etc/ssh/sshd_config.d/00-first.conf" "/run/new" "/etc/ssh/sshd_config.d/50-cloud.conf"\n'
        "Include /etc/other/*.conf\nUsePAM yes\n"
    )


def test_an_include_within_a_match_block_is_refused(tmp_path: object) -> None:
    config = f"{tmp_path}/sshd_config"
    with open(config, "w", encoding="utf-8") as file:
        file.write("Match User bob\nInclude /etc/ssh/sshd_config.d/*.conf\n")
    with pytest.raises(JailkitError) as caught:
        sshd.require_include(config)
    assert caught.value.code == "host.sshd-include" and "Match User bob" in caught.value.message


def test_no_include_at_all(tmp_path: object) -> None:
    config = f"{tmp_path}/sshd_config"
    with open(config, "w", encoding="utf-8") as file:
        file.write("Port 22\n")
    with pytest.raises(JailkitError) as caught:
        sshd.require_include(config)
    assert caught.value.code == "host.sshd-include" and "Include /etc/ssh/sshd_config.d/*.conf" in caught.value.hint
    with pytest.raises(JailkitError) as caught:
        sshd.require_include(f"{tmp_path}/none")
    assert caught.value.code == "host.no-sshd"
