from __future__ import annotations

from base64 import encodebytes
from typing import Any

import pytest
from asn1crypto import core
from profiles_world import STRICT, profile

from est_server.pki.keys import KEY_ALGORITHMS
from est_server.profiles.csr_attributes import MOST_OCTETS, csr_attributes
from est_server.wire.challenges import CHALLENGE_PASSWORD, EST_IDENTITY_LINKING, OTP_CHALLENGE
from est_server.wire.csrattrs import (
    EXTENSION_REQUEST,
    EXTENSION_TEMPLATE,
    REQUEST_TEMPLATE,
    AttributeValues,
    Oid,
    parse_csrattrs,
)
from est_server.wire.der import children

KEY_OIDS = {
    "1.2.840.10045.2.1": "EC",
    "1.2.840.113549.1.1.1": "RSA",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
REQUIRED = {"proof_of_possession": {"channel_binding": "required"}}


def items(changes: dict[str, Any] | None = None) -> Any:
    der = csr_attributes(profile(changes))
    assert der is not None
    return parse_csrattrs(der)


def attribute(found: Any, oid: str) -> AttributeValues:
    (one,) = [item for item in found if isinstance(item, AttributeValues) and item.oid == oid]
    return one


def template(changes: dict[str, Any] | None = None) -> dict[str, bytes]:
    """Return the parts of the template that are there, by name."""
    (der,) = attribute(items(changes), REQUEST_TEMPLATE).values
    names = {0x02: "version", 0x30: "subject", 0xA0: "key", 0xA1: "attributes"}
    return {names[part[0]]: part for part in children(der)}


def subject_of(changes: dict[str, Any]) -> list[tuple[str, str | None]]:
    found = []
    for relative_name in children(template(changes)["subject"]):
        (single,) = children(relative_name)
        oid, *value = children(single)
        found.append((dotted(oid), core.UTF8String.load(value[0]).native if value else None))
    return found


def dotted(der: bytes) -> str:
    return str(core.ObjectIdentifier.load(der).dotted)


@pytest.mark.parametrize("algorithm", [*KEY_ALGORITHMS, "RSA-2048+"])
def test_exactly_one_key_is_named_and_it_is_the_first(algorithm: str) -> None:
    found = items({"key": {"allow": [algorithm, "EC-P256", "RSA-4096"]}})
    named = [item for item in found if item.oid in KEY_OIDS]
    assert len(named) == 1
    assert algorithm.startswith(KEY_OIDS[named[0].oid])


@pytest.mark.parametrize(
    ("algorithm", "curve", "signature"),
    [
        ("EC-P256", "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),
        ("EC-P384", "1.3.132.0.34", "1.2.840.10045.4.3.3"),
        ("EC-P521", "1.3.132.0.35", "1.2.840.10045.4.3.4"),
    ],
)
def test_a_curve_comes_with_the_hash_of_its_strength(
    algorithm: str, curve: str, signature: str
) -> None:
    found = items({"key": {"allow": [algorithm]}})
    assert dotted(attribute(found, "1.2.840.10045.2.1").values[0]) == curve
    assert Oid(signature) in found


def test_an_rsa_key_has_its_size_and_sha_256() -> None:
    found = items({"key": {"allow": ["RSA-3072+"]}})
    (size,) = attribute(found, "1.2.840.113549.1.1.1").values
    assert core.Integer.load(size).native == 3072
    assert Oid("1.2.840.113549.1.1.11") in found


def test_the_challenge_password_is_asked_for_where_binding_is_required() -> None:
    assert Oid(CHALLENGE_PASSWORD) not in items()
    assert Oid(CHALLENGE_PASSWORD) in items(REQUIRED)
    assert items(REQUIRED)[0] == Oid(CHALLENGE_PASSWORD)


@pytest.mark.parametrize(
    ("meaning", "binding", "otp", "asked"),
    [
        ("binding", "required", "optional", [CHALLENGE_PASSWORD]),
        ("binding", "required", "required", [CHALLENGE_PASSWORD, OTP_CHALLENGE]),
        ("binding", "optional", "required", [OTP_CHALLENGE]),
        ("otp", "optional", "required", [CHALLENGE_PASSWORD]),
        ("otp", "required", "required", [CHALLENGE_PASSWORD, EST_IDENTITY_LINKING]),
        ("otp", "required", "optional", [EST_IDENTITY_LINKING]),
        ("otp", "optional", "optional", []),
    ],
)
def test_list_and_template_ask_for_the_proofs_by_the_attributes_that_mean_them(
    meaning: str, binding: str, otp: str, asked: list[str]
) -> None:
    wanted = {"channel_binding": binding, "challenge_password": meaning, "one_time_password": otp}
    changes = {"proof_of_possession": wanted}
    proofs = {CHALLENGE_PASSWORD, OTP_CHALLENGE, EST_IDENTITY_LINKING}
    assert [item.oid for item in items(changes) if item.oid in proofs] == asked
    inside = [children(one) for one in children(template(changes)["attributes"])]
    named = [(dotted(oid), values) for oid, values in inside if dotted(oid) in proofs]
    # RFC 9908 3.4: no value, since the device fills it in
    assert sorted(named) == sorted((oid, b"\x31\x00") for oid in asked)


def test_the_usages_stand_in_one_extension_request() -> None:
    (value,) = attribute(items(), EXTENSION_REQUEST).values
    extensions = [extension.native for extension in core.SequenceOf.load(value, spec=core.Sequence)]
    assert [extension["0"] for extension in extensions] == ["2.5.29.15", "2.5.29.37"]
    bare = {**STRICT["certificate"], "key_usage": [], "extended_key_usage": []}
    assert all(item.oid != EXTENSION_REQUEST for item in items({"certificate": bare}))


def test_the_template_names_what_the_request_is_expected_to_have() -> None:
    subject = {
        "organization": {"fixed": "Example"},
        "locality": {"allow": ["*"], "required": False},
        "serial_number": {"allow": ["SN-*"]},
        "common_name": {"from": "device.id"},
    }
    assert "subject" not in template()
    assert subject_of({"subject": subject}) == [("2.5.4.5", None)]
    assert subject_of({"subject": {**subject, "on_mismatch": "reject"}}) == [
        ("2.5.4.10", "Example"),
        ("2.5.4.5", None),
        ("2.5.4.3", None),
    ]


def test_alternative_names_are_open_in_the_template_where_the_request_may_bring_them() -> None:
    def extensions(names: dict[str, Any]) -> bytes:
        return template({"subject_alternative_names": names})["attributes"]

    san, open_form = (
        core.ObjectIdentifier(oid).dump() for oid in ("2.5.29.17", EXTENSION_TEMPLATE)
    )
    for names in ({"dns": {"allow": ["*.net"]}}, {"ip": {"allow": ["10.0.0.0/8"]}}):
        assert san in extensions(names)
        assert open_form in extensions(names)
    for names in ({}, {"dns": {"fixed": ["a.net"]}}, {"as_requested": True}):
        assert san not in extensions(names)
        assert open_form not in extensions(names)


def test_list_and_template_stay_within_what_libest_reads() -> None:
    for algorithm in KEY_ALGORITHMS:
        for parts in ({}, REQUIRED, {"csr_attributes": DEMANDS}):
            der = csr_attributes(profile({"key": {"allow": [algorithm]}, **parts}))
            assert der is not None
            assert len(der) <= MOST_OCTETS
            wrapped = encodebytes(der)  # 76 columns; 64 need at most 3 line ends more
            assert len(wrapped) + 3 <= 1024


def test_a_template_that_does_not_fit_is_left_out_and_the_list_stays() -> None:
    oids = [f"1.3.6.1.4.1.{1000000 + number}.1.2.3" for number in range(25)]
    whole = items({"certificate": {**STRICT["certificate"], "extended_key_usage": oids[:5]}})
    assert attribute(whole, REQUEST_TEMPLATE)
    cut = items({"certificate": {**STRICT["certificate"], "extended_key_usage": oids}})
    assert all(item.oid != REQUEST_TEMPLATE for item in cut)
    assert attribute(cut, EXTENSION_REQUEST)


DEMANDS = {
    "require": ["1.3.6.1.1.1.1.22", CHALLENGE_PASSWORD],
    "require_extensions": ["2.5.29.17", "2.5.29.37"],
}


def test_what_a_profile_demands_is_in_the_list_and_in_the_template() -> None:
    changes = {**REQUIRED, "csr_attributes": DEMANDS}
    found = items(changes)
    oids = [item.oid for item in found]
    assert oids.count(CHALLENGE_PASSWORD) == 1
    assert Oid("1.3.6.1.1.1.1.22") in found
    # keyUsage and extendedKeyUsage have values and stand in id-ExtensionReq, subjectAltName alone
    assert Oid("2.5.29.17") in found
    assert "2.5.29.37" not in oids
    attributes = template(changes)["attributes"]
    inside = {dotted(children(one)[0]) for one in children(attributes)}
    assert inside == {CHALLENGE_PASSWORD, "1.3.6.1.1.1.1.22", EXTENSION_TEMPLATE}
    (extensions,) = [
        children(children(children(one)[1])[0])
        for one in children(attributes)
        if dotted(children(one)[0]) == EXTENSION_TEMPLATE
    ]
    shown = {dotted(children(one)[0]): len(children(one)) for one in extensions}
    assert shown == {"2.5.29.15": 2, "2.5.29.37": 2, "2.5.29.17": 1}


def test_names_that_are_open_and_demanded_stand_in_the_template_once() -> None:
    changes = {
        "subject_alternative_names": {"dns": {"allow": ["*.net"]}},
        "csr_attributes": {"require_extensions": ["2.5.29.17"]},
    }
    san = core.ObjectIdentifier("2.5.29.17").dump()
    assert template(changes)["attributes"].count(san) == 1


def test_a_profile_publishes_less_if_it_says_so() -> None:
    listed = items({"csr_attributes": {"publish": "list"}})
    assert [item for item in items() if item.oid != REQUEST_TEMPLATE] == list(listed)
    assert csr_attributes(profile({"csr_attributes": {"publish": "nothing"}})) is None
