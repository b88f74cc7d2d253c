"""What an allowed request gets: names, times, rights; and what a refusal says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from profiles_world import (
    ACTIVE,
    DAY,
    DEVICE_NAME,
    NOW,
    STRICT,
    Question,
    csr,
    dns,
    ec_key,
    ip,
    issued,
    issuer,
    name,
    renewal,
)

from est_server.errors import Position
from est_server.pki.plan import Pointers

if TYPE_CHECKING:
    from est_server.profiles.decision import Decision

SECOND = timedelta(seconds=1)
WHOLE = NOW.replace(microsecond=0)


def san(**kinds: Any) -> dict[str, Any]:
    return {"subject_alternative_names": kinds}


def certificate(**changes: Any) -> dict[str, Any]:
    return {"certificate": {**STRICT["certificate"], **changes}}


def plan_of(question: Question) -> Any:
    decision = question.ask()
    assert decision.plan is not None, decision.gates
    return decision.plan


def gate(decision: Decision, rule: str) -> Any:
    (found,) = [gate for gate in decision.gates if gate.rule == rule]
    return found


def test_a_strict_subject_is_the_device_whatever_is_asked() -> None:
    plan = plan_of(Question(csr=csr(name(COUNTRY_NAME="US", COMMON_NAME="root"))))
    assert plan.subject == DEVICE_NAME
    assert plan.subject_alternative_names == ()


def test_the_subject_stands_in_the_profiles_order_from_every_source() -> None:
    question = Question(
        profile={
            "subject": {
                "common_name": {"from": "request"},
                "serial_number": {"from": "device.attributes.serial"},
                "organizational_unit": {"allow": ["Site *"]},
                "organization": {"fixed": "Example"},
                "locality": {"from": "identity.name"},
                "state": {"from": "device.attributes.none", "required": False},
                "country": {"fixed": "DE"},
            }
        },
        csr=csr(name(COMMON_NAME="box", ORGANIZATIONAL_UNIT_NAME="Site 9")),
        device=replace(ACTIVE, attributes={"serial": "77"}),
    )
    assert plan_of(question).subject == name(
        COUNTRY_NAME="DE",
        LOCALITY_NAME="SN-1",
        ORGANIZATION_NAME="Example",
        ORGANIZATIONAL_UNIT_NAME="Site 9",
        SERIAL_NUMBER="77",
        COMMON_NAME="box",
    )


def test_a_subject_as_requested_is_copied_with_attributes_that_profiles_do_not_know() -> None:
    asked = x509.Name(
        [
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "net"),
            x509.NameAttribute(NameOID.COMMON_NAME, "x"),
        ]
    )
    question = Question(profile={"subject": {"as_requested": True}}, csr=csr(asked))
    assert plan_of(question).subject == asked


def test_alternative_names_are_fixed_then_the_devices_then_the_requests_once_each() -> None:
    question = Question(
        profile=san(
            dns={"fixed": ["all.net"], "from": "device.attributes.host", "allow": ["*.a.net"]},
            ip={"fixed": ["192.0.2.1"], "allow": ["192.0.2.0/24", "2001:db8::/64"]},
        ),
        device=replace(ACTIVE, attributes={"host": "h.a.net"}),
        csr=csr(
            names=(
                *ip("2001:db8::9", "192.0.2.1"),
                *dns("z.a.net", "H.a.net", "b.a.net", "Z.a.net"),
            )
        ),
    )
    assert plan_of(question).subject_alternative_names == (
        *dns("all.net", "h.a.net"),
        *ip("192.0.2.1", "2001:db8::9"),
        *dns("z.a.net", "b.a.net"),
    )


def test_names_that_are_dropped_stand_in_the_gate() -> None:
    question = Question(
        profile=san(dns={"allow": ["*.a.net"]}, on_extra="drop"),
        csr=csr(names=(*dns("x.a.net", "x.b.net"), *ip("10.0.0.1"))),
    )
    decision = question.ask()
    assert decision.plan is not None
    assert decision.plan.subject_alternative_names == dns("x.a.net")
    assert gate(decision, "san").detail == "DNS:x.a.net; left out: DNS:x.b.net, IP:10.0.0.1"


def test_a_renewal_drops_names_that_the_profile_no_longer_gives() -> None:
    names = dns("old.a.net", "new.b.net")
    question = renewal(
        issued(names=names), profile=san(dns={"allow": ["*.b.net"]}), csr=csr(names=names)
    )
    assert plan_of(question).subject_alternative_names == dns("new.b.net")
    first = Question(profile=question.profile, csr=question.csr)
    assert first.ask().rule == "san.not-allowed"


def test_alternative_names_as_requested_survive_unchanged() -> None:
    names = (
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), bytes.fromhex("0500")),
        x509.UniformResourceIdentifier("urn:dev:1"),
        *dns("*.Any.net"),
    )
    question = Question(profile=san(as_requested=True), csr=csr(names=names))
    assert plan_of(question).subject_alternative_names == names


@pytest.mark.parametrize(
    ("lifetime", "backdate", "first", "last", "begin", "end"),
    [
        ("90d", "1m", NOW - DAY, NOW + 900 * DAY, WHOLE - 60 * SECOND, None),
        ("90d", "0s", NOW - DAY, NOW + 900 * DAY, WHOLE, None),
        ("90d", "2d", NOW - DAY, NOW + 900 * DAY, WHOLE - DAY, None),
        ("90d", "1m", NOW - DAY, NOW + 9 * DAY, WHOLE - 60 * SECOND, WHOLE + 9 * DAY),
        ("1000y", "1000y", NOW - DAY, NOW + 9 * DAY, WHOLE - DAY, WHOLE + 9 * DAY),
        ("90d", "1m", NOW - DAY, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
         WHOLE - 60 * SECOND, None),
    ],
)  # fmt: skip
def test_the_validity_is_whole_seconds_within_the_issuers(
    lifetime: str, backdate: str, first: Any, last: Any, begin: Any, end: Any
) -> None:
    question = Question(
        profile=certificate(lifetime=lifetime, backdate=backdate), issuer=issuer(first, last)
    )
    decision = question.ask()
    assert decision.plan is not None
    assert decision.plan.not_before == begin
    assert decision.plan.not_after == (end or begin + 90 * DAY)
    assert ("cut at the end of CA issuing" in gate(decision, "validity").detail) == bool(end)


def test_rights_and_pointers_come_from_the_profile() -> None:
    plan = plan_of(
        Question(
            profile=certificate(
                key_usage=["keyAgreement"],
                extended_key_usage=["serverAuth", "1.2.3.4", "serverAuth"],
                certificate_policies=["2.5.29.32.0"],
                pointers=["ocsp", "delta-crl"],
            )
        )
    )
    assert plan.key_usage == ("keyAgreement",)
    assert plan.extended_key_usage == ("1.3.6.1.5.5.7.3.1", "1.2.3.4")
    assert plan.certificate_policies == ("2.5.29.32.0",)
    assert plan.pointers == Pointers(freshest_crl=("http://p/delta",), ocsp=("http://p/ocsp",))
    assert plan.ca == "issuing"


def test_the_key_is_the_requests() -> None:
    request = csr(key=ec_key(9))
    plan = plan_of(Question(csr=request))
    assert (plan.spki, plan.key_algorithm) == (request.spki, "EC-P256")


def test_requested_rights_are_left_out_and_named() -> None:
    extensions = (
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), False),
    )
    decision = Question(csr=csr(extensions=extensions)).ask()
    assert decision.verdict == "allow"
    assert gate(decision, "extension").detail == (
        "left out: basicConstraints CA:TRUE, extendedKeyUsage 2.5.29.37.0, extension 1.2.3"
    )


def test_a_refusal_shows_everything_that_is_wrong() -> None:
    question = Question(
        device=replace(ACTIVE, state="retired"),
        binding="mismatched",
        csr=csr(names=dns("a.net")),
        issuer=issuer(NOW - 9 * DAY, NOW - DAY),
    )
    decision = question.ask()
    assert [gate.rule for gate in decision.gates if gate.ok is False] == [
        "device.retired",
        "pop.mismatch",
        "san.not-allowed",
        "issuer.expired",
    ]
    assert decision.rule == "device.retired"
    assert decision.message == "device SN-1 is retired"
    assert decision.retry_after is None


def test_a_renewal_that_is_wrong_in_every_way_says_so() -> None:
    record = issued(names=dns("a.net"), status="revoked", expires=WHOLE + 60 * DAY)
    question = renewal(
        record,
        profile={"reenroll": {"window": "30d", "key": "new"}},
        csr=csr(name(COMMON_NAME="x")),
    )
    decision = question.ask()
    assert [gate.rule for gate in decision.gates if gate.ok is False] == [
        "certificate.revoked",
        "reenroll.too-early",
        "reenroll.key-same",
        "reenroll.subject",
        "reenroll.san",
    ]
    assert decision.retry_after is None  # waiting alone does not help


def test_too_early_says_when_to_come_back() -> None:
    decision = renewal(issued(expires=WHOLE + 30 * DAY + 90 * SECOND)).ask()
    assert decision.rule == "reenroll.too-early"
    assert decision.retry_after == 90  # NOW has a fraction: rounded up, never too early again
    later = renewal(issued(expires=WHOLE + 30 * DAY + 90 * SECOND), now=NOW + 90 * SECOND)
    assert later.ask().verdict == "allow"


def test_the_grace_and_the_window_end_to_the_second() -> None:
    record = issued(expires=WHOLE)
    assert renewal(record, now=WHOLE + 7 * DAY).ask().verdict == "allow"
    assert renewal(record, now=WHOLE + 7 * DAY + SECOND).ask().rule == "certificate.expired"
    assert renewal(record, now=WHOLE - 30 * DAY).ask().verdict == "allow"
    assert renewal(record, now=WHOLE - 30 * DAY - SECOND).ask().rule == "reenroll.too-early"


def test_a_gate_has_the_line_that_decided_or_the_nearest_above() -> None:
    decision = Question().ask()
    assert gate(decision, "subject").position == Position("router.yaml", 7, 1)
    assert gate(decision, "key").position is None
    refused = Question(profile={"subject": {"common_name": {"from": "device.attributes.no"}}})
    assert gate(refused.ask(), "subject.missing").position == Position("router.yaml", 7, 1)


def test_details_are_bounded_and_on_one_line() -> None:
    asked = name(ORGANIZATION_NAME="o" * 64, LOCALITY_NAME="l" * 128, COMMON_NAME="c" * 64)
    names = dns(*(f"n{number}.{'x' * 60}.net" for number in range(100)))
    device = replace(ACTIVE, id="SN\u2028" + "\u202e" * 4000)
    decision = Question(csr=csr(asked, names), device=device).ask()
    assert "and 90 more" in decision.gates[-3].detail
    for found in decision.gates:
        assert len(found.detail) < 2500
        assert found.detail.isprintable()
    refused = Question(device=replace(device, state="retired")).ask()
    assert "\\u2028" in refused.message


def test_the_trace_is_json_with_every_gate_and_the_plan() -> None:
    decision = Question().ask()
    trace = json.loads(decision.trace())
    assert [gate["rule"] for gate in trace["gates"]] == [
        "method",
        "device",
        "key",
        "pop",
        "subject",
        "san",
        "extension",
        "validity",
    ]
    assert trace["plan"]["subject"] == "CN=SN-1,O=Example"
    assert decision.at == NOW
    assert decision.profile[0] == "router"
