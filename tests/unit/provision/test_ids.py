"""Ids are given once; ranges stay apart from everybody's. And password hashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jailkit.errors import JailkitError
from jailkit.provision import ids, passwords
from jailkit.spec.config import Config


def free(_: int) -> bool:
    return False


def test_limits_come_from_options_then_login_defs_then_its_defaults() -> None:
    text = "# UID_MIN 5\nUID_MIN\t2000  # yes\nUID_MAX 3000\nSYS_UID_MIN 100\nUMASK 022\n"
    assert ids.limits(Config(), text) == (2000, 3000)
    assert ids.limits(Config(), "") == (1000, 60000)
    assert ids.limits(Config(uid_min=5000), text) == (5000, 3000)


@pytest.mark.parametrize(
    ("given_uid", "used", "want"),
    [(0, [], 1000), (0, [0, 999, 1000], 1001), (1500, [1000], 1501), (0, [1000, 59999], 60000), (1003, [60000], 1004),
     (0, [65534], 1000)],
)  # fmt: skip
def test_the_next_uid(given_uid: int, used: list[int], want: int) -> None:
    assert ids.next_uid(1000, 60000, given_uid, used, free) == want


def test_a_uid_that_a_directory_or_a_group_has_is_passed_over() -> None:
    assert ids.next_uid(1000, 60000, 0, [], lambda uid: uid < 1005) == 1005


def test_no_uid_left_is_said() -> None:
    with pytest.raises(JailkitError) as caught:
        ids.next_uid(1000, 1002, 1002, [], free)
    assert caught.value.code == "host.ids-exhausted"


@given(st.lists(st.integers(0, 1100)), st.lists(st.booleans(), min_size=1, max_size=60))
def test_a104_no_uid_is_ever_given_twice(used: list[int], removed: list[bool]) -> None:
    given_uids: list[int] = []
    present = set(used)
    for remove in removed:
        uid = ids.next_uid(1000, 2000, max(given_uids, default=0), present, lambda number: number in present)
        assert uid not in given_uids and uid not in present
        given_uids.append(uid)
        if not remove:
            present.add(uid)


@given(st.lists(st.tuples(st.integers(699_990_000, 700_100_000), st.integers(1, 70_000)), max_size=8))
def test_ranges_never_overlap_each_other_or_subuid(foreign: list[tuple[int, int]]) -> None:
    base: int | None = None
    for _ in range(20):
        new = ids.next_base(700_000_000, base, foreign)
        assert base is None or new >= base + 1024
        assert all(new + 1024 <= low or low + count <= new for low, count in foreign)
        base = new


def test_the_last_range_is_the_last() -> None:
    with pytest.raises(JailkitError):
        ids.next_base(700_000_000, 2**32 - 1024, [])


def test_subordinate_ids_are_read_as_shadow_reads_them() -> None:
    assert ids.subordinate("a:100000:65536\n#x\nb:1:\nc:x:1\n\n1000:5:6\n") == [(100000, 65536), (5, 6)]


def test_a_hash_matches_its_password_and_no_other() -> None:
    hashed = passwords.hash_password("secret \u00e4")
    assert hashed.startswith("$") and passwords.hash_password("secret \u00e4") != hashed
    assert passwords.matches("secret \u00e4", hashed)
    assert not passwords.matches("secret a", hashed)
    assert passwords.matches("x\udcff", passwords.hash_password("x\udcff"))


@pytest.mark.parametrize("field", ["", "*", "!", "!*", "!$y$abc", "x", "$nothing$"])
def test_nothing_matches_a_locked_or_empty_field(field: str) -> None:
    assert not passwords.matches("", field)
    assert not passwords.matches("x", field)


@pytest.mark.parametrize("password", ["", "a\nb", "a\x00", "a\r", "x" * 513])
def test_a125_a_password_is_one_line(password: str) -> None:
    with pytest.raises(JailkitError):
        passwords.hash_password(password)
