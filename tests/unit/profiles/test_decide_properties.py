"""What holds for every profile, every request and every device."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from profiles_world import (
    ACTIVE,
    DAY,
    NOW,
    Question,
    csr,
    dns,
    ec_key,
    ip,
    issued,
    issuer,
    name,
    rsa_key,
)

from est_server.pki.usages import KEY_USAGES, key_usage_extension
from est_server.ports.ledger import Device
from est_server.profiles.decision import Identity
from est_server.profiles.model import Rule
from est_server.profiles.rules import compile_rule

TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
ODD = st.sampled_from(
    ["", " ", "x" * 65, "DE", "SN-1", "a.example.net", "a\x00b", "ä" * 40, "10.0.0.1"]
)
SOURCES = st.sampled_from(
    ["device.id", "device.attributes.a", "device.attributes.b", "identity.name"]
)
RULES = tuple(
    compile_rule(Rule(name=f"r{number}", when=when, message="{device.a} {request.san.dns}"))
    for number, when in enumerate(["device.a == 'x'", "size(request.san.dns) < 2", "has(device.b)"])
)


def subject_fields(sources: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    rule = st.one_of(
        st.builds(lambda fixed: {"fixed": fixed}, st.sampled_from(["DE", "FR"])),
        st.builds(lambda source, must: {"from": source, "required": must}, sources, st.booleans()),
        st.just({"allow": ["SN-*", "*e*"], "required": False}),
    )
    names = ["country", "state", "locality", "organization", "organizational_unit",
             "serial_number", "common_name"]  # fmt: skip
    return st.dictionaries(st.sampled_from(names), rule, max_size=4)


def kinds() -> st.SearchStrategy[dict[str, Any]]:
    patterns = {
        "dns": (["*.example.net", "a.*"], ["fixed.example.net"]),
        "ip": (["10.0.0.0/8"], ["192.0.2.1"]),
        "email": (["*@example.net"], ["a@example.net"]),
        "uri": (["urn:*"], ["urn:fixed"]),
    }

    def kind(of: str) -> st.SearchStrategy[dict[str, Any]]:
        allow, fixed = patterns[of]
        return st.fixed_dictionaries(
            {"max": st.integers(0, 3)},
            optional={
                "allow": st.just(allow),
                "fixed": st.just(fixed),
                "from": SOURCES,
            },
        )

    return st.fixed_dictionaries(
        {"on_extra": st.sampled_from(["reject", "drop"])},
        optional={of: kind(of) for of in patterns},
    )


PROFILES = st.fixed_dictionaries(
    {
        "registration": st.sampled_from(["registered", "automatic", "none"]),
        "subject": st.one_of(
            st.just({"as_requested": True}),
            st.tuples(
                subject_fields(st.one_of(SOURCES, st.just("request"))),
                st.sampled_from(["ignore", "reject"]),
            ).map(lambda pair: {**pair[0], "on_mismatch": pair[1]}),
        ),
        "subject_alternative_names": st.one_of(st.just({"as_requested": True}), kinds()),
        "certificate": st.fixed_dictionaries(
            {
                "lifetime": st.sampled_from(["1s", "1h", "90d", "9999y"]),
                "backdate": st.sampled_from(["0s", "1m", "9999y"]),
                "on_extra_extension": st.sampled_from(["reject", "drop"]),
            }
        ),
        "reenroll": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {"key": st.sampled_from(["new", "same", "new-or-same"])},
                optional={
                    "window": st.sampled_from(["0s", "30d", "9999y"]),
                    "grace_after_expiry": st.sampled_from(["0s", "30d", "9999y"]),
                },
            ),
        ),
    }
)

GENERAL_NAMES = st.lists(
    st.one_of(
        st.sampled_from(dns("a.example.net", "A.example.NET", "*.example.net", "b.c", "x_y.a")),
        st.sampled_from(ip("10.1.2.3", "192.0.2.1", "::1")),
        st.sampled_from(
            [
                x509.RFC822Name("a@example.net"),
                x509.RFC822Name("nobody"),
                x509.UniformResourceIdentifier("urn:x"),
                x509.DirectoryName(name(COMMON_NAME="x")),
                x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
                x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"),
            ]
        ),
    ),
    max_size=6,
).map(tuple)

SUBJECTS = st.lists(
    st.one_of(
        st.builds(
            x509.NameAttribute,
            st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.POSTAL_CODE]),
            st.sampled_from(["SN-1", "box", "x" * 64, "a_b", "*", "ä"]),
        ),
        st.just(x509.NameAttribute(NameOID.SERIAL_NUMBER, "SN-1")),
        st.just(x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "net")),
    ),
    max_size=4,
).map(x509.Name)

EXTENSIONS = st.lists(
    st.one_of(
        st.booleans().map(lambda ca: (x509.BasicConstraints(ca=ca, path_length=None), True)),
        st.sets(st.sampled_from(KEY_USAGES[:7]), min_size=1).map(
            lambda bits: (key_usage_extension(tuple(bits)), True)
        ),
        st.just((x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")]), False)),
        st.just((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b""), True)),
    ),
    max_size=3,
    unique_by=lambda pair: pair[0].oid,
).map(tuple)

KEYS = st.sampled_from(
    [ec_key(), ec_key(3), ec_key(0, ec.SECP521R1), rsa_key(1024), rsa_key(2048), rsa_key(2048, 3)]
)
CSRS = st.builds(csr, SUBJECTS, GENERAL_NAMES, KEYS, EXTENSIONS)
DEVICES = st.one_of(
    st.none(),
    st.builds(
        Device,
        st.one_of(ODD, TEXT),
        st.sampled_from(["router", "router", "switch"]),
        st.just(NOW),
        st.sampled_from(["active", "active", "quarantined", "retired"]),
        st.dictionaries(st.sampled_from(["a", "b", "id"]), st.one_of(ODD, TEXT)),
    ),
)
RECORDS = st.builds(
    issued,
    SUBJECTS,
    GENERAL_NAMES,
    st.sampled_from([ec_key(), ec_key(3)]),
    st.sampled_from([NOW.replace(microsecond=0) + days * DAY for days in (-40, -1, 0, 10, 400)]),
    status=st.sampled_from(["good", "good", "held", "revoked", "presumed"]),
    profile=st.sampled_from(["router", "router", "switch"]),
)
IDENTITIES = st.one_of(
    st.builds(
        Identity, st.one_of(ODD, TEXT), st.sampled_from(["credential", "client-certificate"])
    ),
    st.builds(
        Identity,
        st.just("SN-1"),
        st.just("own-certificate"),
        certificate=st.one_of(st.none(), RECORDS, RECORDS.map(lambda r: replace(r, der=None))),
    ),
)
ISSUERS = st.sampled_from(
    [
        issuer(),
        issuer(NOW - 10 * DAY, NOW - DAY),
        issuer(NOW - 10 * DAY, NOW + timedelta(seconds=30)),
        issuer(NOW + DAY, NOW + 10 * DAY),
    ]
)
QUESTIONS = st.builds(
    Question,
    profile=PROFILES,
    csr=CSRS,
    device=DEVICES,
    operation=st.sampled_from(["simpleenroll", "simplereenroll"]),
    identity=IDENTITIES,
    binding=st.sampled_from(["absent", "matched", "mismatched", "unavailable"]),
    issuer=ISSUERS,
    rules=st.sampled_from([(), RULES]),
    compromised=st.sampled_from([False, False, True]),
)
GOOD_QUESTIONS = st.builds(
    Question,
    profile=PROFILES,
    csr=st.builds(csr, SUBJECTS, GENERAL_NAMES, st.just(ec_key()), EXTENSIONS),
    device=st.just(replace(ACTIVE, attributes={"a": "x.example.net", "b": "10.0.0.9"})),
    binding=st.just("matched"),
    issuer=ISSUERS,
)


@given(st.one_of(QUESTIONS, GOOD_QUESTIONS))
def test_every_request_gets_a_decision_and_the_same_one_again(question: Question) -> None:
    decision = question.ask()
    assert decision == question.ask()
    failed = [gate for gate in decision.gates if gate.ok is False]
    assert (decision.verdict == "deny") == bool(failed)
    assert decision.rule == (failed[0].rule if failed else None)
    assert (decision.plan is None) == bool(failed)
    assert decision.retry_after is None or (decision.retry_after > 0 and len(failed) == 1)
    assert decision.message
    assert all(gate.detail.isprintable() for gate in decision.gates)
    decision.trace()


@given(st.one_of(QUESTIONS, GOOD_QUESTIONS))
def test_no_plan_reaches_beyond_its_issuer(question: Question) -> None:
    plan = question.ask().plan
    if plan is None:
        return
    bounds = question.issuer.certificate
    assert plan.not_before >= bounds.not_valid_before_utc
    assert plan.not_after <= bounds.not_valid_after_utc
    assert plan.not_before < plan.not_after
    assert plan.not_after > NOW.replace(microsecond=0)
    assert (plan.not_before.microsecond, plan.not_after.microsecond) == (0, 0)
    assert plan.subject.rdns or plan.subject_alternative_names


@given(subject_fields(SOURCES), CSRS, st.sampled_from(["simpleenroll", "simplereenroll"]))
def test_a_strict_subject_never_depends_on_the_request(
    fields: dict[str, Any], request: Any, operation: str
) -> None:
    strict = {field: rule for field, rule in fields.items() if "allow" not in rule}
    profile = {"subject": strict, "subject_alternative_names": {"dns": {"fixed": ["a.net"]}}}
    device = replace(ACTIVE, attributes={"a": "AA"})
    own = Identity("SN-1", "own-certificate", certificate=issued(request.subject))
    identity = own if operation == "simplereenroll" else Identity("SN-1", "credential")
    question = Question(
        profile=profile, csr=request, device=device, operation=operation, identity=identity
    )
    decision = question.ask()
    other = replace(question, csr=csr(name(COMMON_NAME="other"))).ask()
    if decision.plan is not None and other.plan is not None:
        assert decision.plan.subject == other.plan.subject
    made = [gate.detail.partition(";")[0] for gate in decision.gates if gate.rule == "subject"]
    assert made == [gate.detail.partition(";")[0] for gate in other.gates if gate.rule == "subject"]


@given(GENERAL_NAMES, kinds())
def test_no_name_is_given_that_the_profile_does_not_allow(
    names: tuple[x509.GeneralName, ...], rules: dict[str, Any]
) -> None:
    device = replace(ACTIVE, attributes={"a": "x.example.net", "b": "10.0.0.9"})
    question = Question(
        profile={"subject_alternative_names": rules}, csr=csr(names=names), device=device
    )
    plan = question.ask().plan
    if plan is None:
        return
    given_names = plan.subject_alternative_names
    assert len(set(given_names)) == len(given_names)
    silent = replace(question, csr=csr()).ask().plan
    own = () if silent is None else silent.subject_alternative_names
    assert given_names[: len(own)] == own
    allowed = {
        "dns": {"a.example.net", "A.example.NET", "*.example.net"},
        "ip": {"10.1.2.3"},
        "email": {"a@example.net"},
        "uri": {"urn:x"},
    }
    for added in given_names[len(own) :]:
        kind = next(kind for kind, texts in allowed.items() if str(added.value) in texts)
        assert "allow" in rules[kind]
