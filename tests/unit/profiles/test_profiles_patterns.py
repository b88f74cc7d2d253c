from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.profiles.alternative_names import KINDS, general_name, is_name
from est_server.profiles.patterns import (
    any_contains,
    dns_pattern,
    is_dns_name,
    network,
    text_pattern,
)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.example.net", ["a.example.net", "A.Example.NET", "a-b_c.example.net", "*.example.net"],
         ["example.net", "a.b.example.net", ".example.net", "a.example.net.", "-a.example.net",
          "a.example.netx", "aXexample.net", "a.exampleXnet", "*.EXAMPLE.com", "a b.example.net",
          "x" * 64 + ".example.net"]),
        ("a.example.net", ["a.example.net"], ["b.example.net", "*.example.net", "xa.example.net"]),
        ("*.*.net", ["a.b.net"], ["a.net", "*.b.net", "*.x.net"]),
        ("*", ["localhost"], ["a.b", ""]),
        ("A.*.net", ["a.x.net"], ["b.x.net"]),
    ],
)  # fmt: skip
def test_in_a_dns_pattern_a_star_is_exactly_one_label(
    pattern: str, yes: list[str], no: list[str]
) -> None:
    compiled = dns_pattern(pattern)
    assert [name for name in yes if not compiled.matches(name)] == []
    assert [name for name in no if compiled.matches(name)] == []


@pytest.mark.parametrize("pattern", ["a*.net", "*a", "**", "a..net", "", ".net", "ä.net", "a.net."])
def test_a_dns_pattern_has_whole_labels(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"DNS"):
        dns_pattern(pattern)


def test_a_dns_name_is_at_most_253_octets() -> None:
    label = "x" * 63
    longest = f"{label}.{label}.{label}.{'x' * 61}"
    assert is_dns_name(longest)
    assert not is_dns_name(longest + "x")
    assert dns_pattern("*.*.*.*").matches(longest)
    assert not dns_pattern("*.*.*.*").matches(longest + "x")


@given(
    st.lists(st.sampled_from(["*", "a", "b", "ab"]), max_size=6).map("".join),
    st.text("ab", max_size=8),
)
def test_a_text_pattern_is_the_glob_over_the_whole_text(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert text_pattern(pattern).matches(text) == expected


def test_a_text_pattern_takes_linear_time() -> None:
    # a backtracking matcher needs about 10^20 steps for this
    assert not text_pattern("*a" * 20 + "b").matches("a" * 20_000)


@pytest.mark.parametrize(
    ("networks", "address", "inside"),
    [
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.7"], "10.0.0.7", True),
        (["10.0.0.0/8", "2001:db8::/32"], "2001:db8:ffff::1", True),
        (["0.0.0.0/0"], "::1", False),
        (["::/0"], "10.0.0.1", False),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", False),
    ],
)
def test_an_address_lies_in_a_network_of_its_own_version(
    networks: list[str], address: str, *, inside: bool
) -> None:
    assert any_contains(map(network, networks), ipaddress.ip_address(address)) == inside


@pytest.mark.parametrize("pattern", ["10.0.0.1/8", "net", "", "10.0.0.0/33"])
def test_a_network_is_one(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        network(pattern)


NAMES = {
    "dns": (["a", "a.b", "*.a.b", "A_1.b"], ["", "a b", "a.", "*", "a.*.b", "ä.b", "a" * 64]),
    "ip": (["10.0.0.1", "::1"], ["", "10.0.0.0/8", "a", "fe80::1%eth0"]),
    "email": (["a@b.net"], ["", "a", "@b.net", "a b@c", "a@b@c", "A<a@b.net>", "ä@b.net"]),
    "uri": (["urn:x:1", "https://a/b?c"], ["", "/a", "a", "urn:", "urn:a b", "urn:ä"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_one_of_its_kind(kind: str) -> None:
    yes, no = NAMES[kind]
    assert [text for text in yes if not is_name(kind, text)] == []  # type: ignore[arg-type]
    assert [text for text in no if is_name(kind, text)] == []  # type: ignore[arg-type]


@given(st.sampled_from(KINDS), st.text(max_size=40))
def test_any_text_is_a_name_or_not(kind: str, text: str) -> None:
    if is_name(kind, text):  # type: ignore[arg-type]
        assert general_name(kind, text) == general_name(kind, text)  # type: ignore[arg-type]
