from __future__ import annotations

import builtins
import sys
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from profiles_world import ACTIVE, NOW, Question, csr, dns, ec_key, ip, name

from est_server.profiles.facts import EXAMPLE, LONGEST_NAME, rule_facts, too_large
from est_server.profiles.model import Rule
from est_server.profiles.rules import CelRule, compile_rule, fill, refusals


def compiled(when: str, message: str = "no") -> CelRule:
    return compile_rule(Rule(name="r", when=when, message=message))


def facts(question: Question | None = None) -> dict[str, Any]:
    question = question or Question()
    return rule_facts(question.facts(), question.device, NOW)


def refusal(when: str, question: Question | None = None) -> str | None:
    (found,) = refusals([compiled(when)], facts(question))
    return found


FULL = Question(
    csr=csr(
        name(COMMON_NAME="box", ORGANIZATION_NAME="Acme"),
        (
            *dns("a.net", "b.net"),
            *ip("10.0.0.1"),
            x509.RFC822Name("a@b.net"),
            x509.UniformResourceIdentifier("urn:x"),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        ),
    ),
    device=replace(ACTIVE, attributes={"site": "north", "a-b": "x", "id": "forged"}),
)


@pytest.mark.parametrize(
    "when",
    [
        "device.id == 'SN-1' && device.profile == 'router' && device.state == 'active'",
        "device.site == 'north' && device['a-b'] == 'x'",
        "request.operation == 'simpleenroll' && request.label == '' && request.key == 'EC-P256'",
        "request.subject.common_name == 'box' && request.subject.locality == ''",
        "request.san.dns == ['a.net', 'b.net'] && request.san.ip == ['10.0.0.1']",
        "request.san.email == ['a@b.net'] && request.san.uri == ['urn:x']",
        "request.san.other == ['RID:1.2.3']",
        "identity.name == 'SN-1' && identity.method == 'credential'",
        "now == timestamp('2026-06-01T12:00:00.654321Z')",
        "request.san.dns.all(n, n.endsWith('.net'))",
    ],
)
def test_a_rule_sees_device_request_identity_and_time(when: str) -> None:
    assert refusal(when, FULL) is None
    assert refusal(f"!({when})", FULL) == "no"


def test_the_facts_have_the_shape_that_rules_are_tried_on() -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(part) for key, part in value.items()}
        return type(value)

    assert shape(facts()) == shape(EXAMPLE)


def test_without_a_device_a_rule_about_it_refuses() -> None:
    nobody = Question(device=None)
    assert refusal("device.id == 'SN-1'", nobody) == "no (not evaluated: 'id')"
    assert refusal("!has(device.id)", nobody) is None


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("device.nope == 'x'", "'nope'"),
        ("request.san.dns[7] == 'x'", "out of bounds"),
        ("1 / size(request.san.dns) == 1", "division by zero"),
        ("device.nope", "'nope'"),
    ],
)
def test_what_can_not_be_evaluated_refuses(when: str, text: str) -> None:
    found = refusal(when)
    assert found is not None
    assert text in found


def test_what_is_not_true_refuses() -> None:
    device = replace(ACTIVE, attributes={"site": "north"})
    assert refusal("device.site", Question(device=device)) == "no (gave 'north', no boolean)"


def test_facts_that_the_evaluator_can_not_take_refuse() -> None:
    (found,) = refusals([compiled("true")], {"device": object()})
    assert found is not None
    assert found.startswith("no (not evaluated: ")


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("1 +", "not a CEL expression"),
        ("devise.id == 'x'", "'devise'"),
        ("device.id.startWith('x')", "'startWith'"),
        ("device.id", "gives str, not true or false"),
        ("1", "gives int"),
    ],
)
def test_a_wrong_expression_is_found_when_it_is_written(when: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        compiled(when)


def test_the_evaluator_is_an_extra_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without_cel(name: str, *rest: Any) -> Any:
        if name == "cel":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "cel", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_cel)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'est-server\[policy\]'"):
        compiled("true")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (dns(*(f"{number}.net" for number in range(100))), None),
        ((x509.UniformResourceIdentifier("urn:" + "x" * (LONGEST_NAME - 4)),), None),
        ((x509.UniformResourceIdentifier("urn:" + "x" * (LONGEST_NAME - 3)),), "2049 characters"),
    ],
)
def test_what_an_expression_sees_is_bounded(names: Any, problem: str | None) -> None:
    question = Question(
        csr=csr(names=names),
        profile={"subject_alternative_names": {"as_requested": True}},
        rules=(compiled("true"),),
    )
    found = too_large(facts(question))
    assert (found is None) == (problem is None)
    decision = question.ask()
    assert decision.rule == (None if problem is None else "rule.r")
    assert (problem or "") in decision.message


def test_more_names_than_the_wire_lets_through_are_not_judged() -> None:
    crowded = facts()
    crowded["request"]["san"]["dns"] = ["a"] * 51
    crowded["request"]["san"]["uri"] = ["a"] * 50
    assert too_large(crowded) == "the request has 101 alternative names, 100 are judged"


@pytest.mark.parametrize(
    ("message", "filled"),
    [
        ("device {device.id} of {device.site}", "device SN-1 of north"),
        ("{identity.name} {request.subject.common_name}", "SN-1 box"),
        ("{device.nope} {nope} {device} {device.id.x}",
         "{device.nope} {nope} {device} {device.id.x}"),
        ("{device.a-b}{{device.id}}", "x{SN-1}"),
        ("{} {0} {device.__class__} {device.id!r} {", "{} {0} {device.__class__} {device.id!r} {"),
        ("{request.san.dns}", "['a.net', 'b.net']"),
    ],
)  # fmt: skip
def test_a_message_is_filled_from_the_facts(message: str, filled: str) -> None:
    assert fill(message, facts(FULL)) == filled


def test_a_value_in_a_message_is_short_and_visible() -> None:
    question = Question(device=replace(ACTIVE, id="a\n" + "b" * 5000))
    assert fill("{device.id}", facts(question)) == "a\\n" + "b" * 197 + "…"


@given(st.text(max_size=60))
def test_filling_a_message_never_fails(message: str) -> None:
    assert isinstance(fill(message, facts()), str)


def test_a_rule_that_refuses_fills_its_message_into_the_decision() -> None:
    rule = compiled("device.site == 'south'", "device {device.id} belongs to {device.site}")
    decision = replace(FULL, rules=(rule,), csr=csr(key=ec_key(3))).ask()
    assert decision.rule == "rule.r"
    assert decision.message == "device SN-1 belongs to north"
