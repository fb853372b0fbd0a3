"""Limits: what they may say, which level wins, and what becomes of them in a recipe."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jailkit import names
from jailkit.errors import InvalidFile, JailkitError
from jailkit.jail import limits as of_jail
from jailkit.jail import recipe as recipes
from jailkit.jail.recipe import Recipe
from jailkit.paths import Paths
from jailkit.provision import limits
from jailkit.spec import fields, include, load, write
from jailkit.spec.jail import JailSpec
from jailkit.spec.limits import Limits, effective
from jailkit.spec.plan import PlanSpec
from jailkit.spec.template import TemplateSpec
from tests.unit.rooted import rooted

LIMITS = {"memory": "1G", "processes": 10, "hours": ["mon 08:00-09:00"]}
TEMPLATE = TemplateSpec.model_validate({"name": "t", "description": "d", "source": "host", "limits": LIMITS})


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        os.makedirs(made.plans)
        yield made


def put(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_the_nearest_that_says_something_wins() -> None:
    plan = PlanSpec(name="p", limits=Limits(memory="2G", cpu=0.5, sources=["192.0.2.0/24"]), linger=5)
    spec = JailSpec(user="alice", plan="p", limits=Limits(memory="unlimited", hours=[], cpu_weight=7))
    have = limits.levels(TEMPLATE, plan, spec)
    assert (have["memory"].value, have["memory"].origin) == (None, "jail")
    assert (have["processes"].value, have["processes"].origin) == (10, "template t")
    assert (have["cpu"].value, have["cpu"].origin) == (0.5, "plan p")
    assert (have["hours"].value, have["hours"].origin) == (None, "jail")
    assert (have["idle"].value, have["idle"].origin) == (None, "default")
    made = limits.numbers(have, "1970-01-02T00:00:00Z")
    assert made.limits == {"processes": 10, "cpu": 500_000, "cpu_weight": 7, "expires": 86400}
    assert (made.hours, made.sources) == ([], ["c0000200/24"])
    assert limits.settings(TEMPLATE, plan, spec)["linger"].value == 5
    shown = limits.shown(TEMPLATE, plan, spec, "t")
    assert shown["limits.cpu"] == {"value": 0.5, "from": "plan p"} and shown["shell"]["from"] == "template t"


def test_swap_of_none_is_a_limit() -> None:
    assert limits.numbers(effective(("jail", Limits(swap="0"))), None).limits == {"swap": 0}


@pytest.mark.parametrize(
    ("items", "spans"),
    [
        (["mon 08:00-09:30"], [(480, 570)]),
        (["sun 22:00-02:00"], [(0, 120), (8640 + 1320, 10080)]),
        (["mon-tue 00:00-24:00"], [(0, 2880)]),
        (["08:00-24:00", "00:00-08:00"], [(0, 10080)]),
        (["fri-mon 12:00-13:00"], [(720, 780), (6480, 6540), (7920, 7980), (9360, 9420)]),
        (["mon 08:00-10:00", "mon 09:00-11:00", "mon 11:00-12:00"], [(480, 720)]),
        ([], []),
    ],
)
def test_hours_as_minutes_of_the_week(items: list[str], spans: list[tuple[int, int]]) -> None:
    assert limits.hours(items) == spans


def test_hours_that_no_record_can_hold_are_refused() -> None:
    items = [f"{hour:02}:{minute:02}-{hour:02}:{minute + 10:02}" for hour in range(8) for minute in (0, 30)]
    with pytest.raises(JailkitError) as caught:
        limits.numbers(effective(("jail", Limits(hours=items))), None)
    assert caught.value.code == "invalid.limit"


def recipe(**changes: object) -> Recipe:
    made = Recipe(user="alice", uid=1001, gid=1001, base=7, home="/home/alice", hostname="alice", template="t")
    return made.but(**changes)


@given(
    st.dictionaries(st.sampled_from(recipes.LIMITS), st.integers(0, 2**62)),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(5001, 10080)).map(lambda pair: f"{pair[0]}-{pair[1]}")),
    st.lists(st.ip_addresses().map(lambda a: f"{a.packed.hex()}/{a.max_prefixlen}")),
)
def test_a_recipe_reads_back(amounts: dict[str, int], hours: list[str], sources: list[str]) -> None:
    made = recipe(limits=amounts, hours=hours, sources=sources, plan="p", stamp="1.2.3.4")
    assert recipes.parse(recipes.text(made)) == made


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_source_is_in_a_network_or_not(one: object, other: object, prefix: int) -> None:
    """As the standard library says, which the login path has no time to import."""
    assert isinstance(one, ipaddress.IPv4Address | ipaddress.IPv6Address)
    network = ipaddress.ip_network(f"{one}/{min(prefix, one.max_prefixlen)}", strict=False)
    mapped = getattr(other, "ipv4_mapped", None) or other
    said = of_jail.refusal(recipe(sources=[limits._source(str(network))]), "sshd", str(other))
    assert (said == "") == (mapped in network)


def test_who_is_refused_before_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.localtime()
    minute = now.tm_wday * 1440 + now.tm_hour * 60 + now.tm_min
    late = recipe(limits={"expires": int(time.time())})
    assert of_jail.refusal(late, "sshd", "") == "login.expired"
    assert of_jail.refusal(late, "jailctl", "") == ""
    assert of_jail.refusal(recipe(limits={"expires": int(time.time()) + 60}), "sshd", "") == ""
    assert of_jail.refusal(recipe(hours=[f"{minute}-{minute + 2}"]), "sshd", "") == ""
    assert of_jail.refusal(recipe(hours=["10080-10081"]), "sshd", "") == "login.hours"


def test_a_plan_is_read_with_all_that_is_wrong(paths: Paths) -> None:
    with pytest.raises(JailkitError) as caught:
        load.plan(paths, "small")
    assert caught.value.code == "missing.plan"
    put(paths.plan("small"), 'name = "large"\n')
    with pytest.raises(InvalidFile, match="the file is that of 'small'"):
        load.plan(paths, "small")
    wrong_in_it = 'memory = 5\ncpu = 0\nhours = ["mon 8-9"]\n'
    put(paths.plan("small"), f'name = "small"\nnetwrk = "host"\n[limits]\n{wrong_in_it}')
    with pytest.raises(InvalidFile) as wrong:
        load.plan(paths, "small")
    assert {"netwrk", "limits.memory", "limits.cpu", "limits.hours"} <= {where for where, _ in wrong.value.errors}
    put(paths.plan("small"), 'name = "small"\n[limits]\nmemory = "5M"\n')
    assert load.plan(paths, "small").limits.memory == "5M"
    os.chown(paths.plan("small"), 12345, 0)
    with pytest.raises(JailkitError) as unsafe:
        load.plan(paths, "small")
    assert unsafe.value.code == "unsafe.path"


def test_another_file_of_a_plan_asks_for_another_recipe(paths: Paths) -> None:
    assert recipes.stamp(paths, "") == ""
    put(paths.plan("p"), "one")
    first = recipes.stamp(paths, "p")
    assert first == recipes.stamp(paths, "p")
    put(f"{paths.plan('p')}.new", "two")
    os.rename(f"{paths.plan('p')}.new", paths.plan("p"))
    assert recipes.stamp(paths, "p") not in ("", first)
    os.unlink(paths.plan("p"))
    made = recipe(plan="p", stamp=first)
    assert not recipes.current(paths, made, "no-image") and not recipes.current(paths, made.but(stamp=""), "no-image")


def test_parts_have_limits_too(paths: Paths) -> None:
    for name, text in (
        ("parts/base", 'name = "base"\ndescription = "d"\n[limits]\nmemory = "1G"\nhours = ["mon 08:00-09:00"]\n'),
        (
            "x",
            'name = "x"\ndescription = "d"\nincludes = ["base"]\nsource = "host"\n[limits]\nhours = ["08:00-09:00"]\n',
        ),
    ):
        os.makedirs(f"{paths.templates}/{name}")
        put(f"{paths.templates}/{name}/template.toml", text)
    found = include.resolve(paths, "x")
    assert (found.spec.limits.memory, found.spec.limits.hours) == ("1G", ["08:00-09:00"])
    assert (found.origins["limits.memory"], found.origins["limits.hours"]) == ("base", "x")


def test_a_table_of_limits_keeps_its_comments() -> None:
    spec = JailSpec(user="alice", limits=Limits(memory="1G", cpu=0.5))
    text = write.spec_text(spec)
    assert load.parse(JailSpec, text, "x", "invalid.spec") == spec
    edited = text.replace('memory = "1G"', '# for her builds\nmemory = "1G"')
    again = write.spec_text(spec.model_copy(update={"limits": Limits(memory="1G", cpu=0.7), "linger": 5}), edited)
    assert "# for her builds\n" in again
    assert load.parse(JailSpec, again, "x", "invalid.spec").limits.cpu == 0.7
    assert load.parse(JailSpec, again, "x", "invalid.spec").linger == 5


LONG = 100 * 1024
BAD = ["/" + "a/" * LONG, *(part * LONG for part in ("a", "mon-", "1", "-", " ", "0:", "a-", "::", "\0", "{{"))]


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:4]))
def test_a184_no_pattern_takes_long(text: str) -> None:
    """Of all that policy is made of: names, paths, sizes, hours, sources, times."""
    checks: list[Callable[[str], object]] = [
        names.user_name, names.template_name, names.plan_name, names.host_name, names.image_reference,
        names.manifest_name, fields.plain_path, fields._size, fields._program, fields._home, fields._search_path,
        lambda text: Limits(hours=[text]), lambda text: Limits(sources=[text]), lambda text: Limits(memory=text),
        lambda text: JailSpec(user="a", expires=text), lambda text: JailSpec(user="a", suspended=text),
        lambda text: JailSpec(user=text), lambda text: fields._services([text]),
    ]  # fmt: skip
    begin = time.process_time()
    for check in checks:
        with pytest.raises((JailkitError, ValidationError, ValueError)):
            check(text)
    assert of_jail.refusal(recipe(sources=["00/8"]), "sshd", text) == "login.source"
    assert time.process_time() - begin < 1
