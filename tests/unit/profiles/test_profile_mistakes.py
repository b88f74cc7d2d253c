from __future__ import annotations

from typing import Any

import pytest
from profiles_world import STRICT, profile

from est_server.profiles.mistakes import mistakes
from est_server.profiles.model import ProfileModel

CN = {"common_name": {"from": "device.id"}}


def found(changes: dict[str, Any]) -> list[tuple[Any, str, str | None]]:
    text = {key: value for key, value in {**STRICT, **changes}.items() if value is not None}
    model = ProfileModel.model_validate(text)
    return [(mistake.path, mistake.message, mistake.hint) for mistake in mistakes(model)]


def certificate(**changes: Any) -> dict[str, Any]:
    return {"certificate": {**STRICT["certificate"], **changes}}


def san(**kinds: Any) -> dict[str, Any]:
    return {"subject_alternative_names": kinds}


SAN = "subject_alternative_names"
CASES: list[tuple[dict[str, Any], Any, str, dict[str, Any]]] = [
    ({"authenticate": [], "reenroll": None}, ("authenticate",), "nobody", {"authenticate": []}),
    ({"subject": {}}, ("subject",), "no name at all", {"subject": {}, **san(dns={"allow": ["*"]})}),
    ({"subject": {"country": {"fixed": "Germany"}}}, ("subject", "country", "fixed"),
     "two letters", {"subject": {"country": {"fixed": "DE"}}}),
    ({"subject": {"common_name": {"fixed": "x" * 65}}}, ("subject", "common_name", "fixed"),
     "64 are allowed", {"subject": {"common_name": {"fixed": "x" * 64}}}),
    ({"registration": "none"}, ("subject", "common_name", "from"), "always missing",
     {"registration": "automatic"}),
    ({"registration": "none", "subject": {"as_requested": True},
      **san(dns={"from": "device.id"})}, (SAN, "dns", "from"), "always missing",
     {"registration": "none", "subject": {"as_requested": True},
      **san(dns={"from": "identity.name"})}),
    (san(dns={"fixed": ["ok.net", "not ok"]}), (SAN, "dns", "fixed", 1), "no DNS name",
     san(dns={"fixed": ["*.ok.net"]})),
    (san(dns={"allow": ["a*.net"]}), (SAN, "dns", "allow", 0), "one whole label",
     san(dns={"allow": ["*.net"]})),
    (san(ip={"allow": ["10.0.0.1/8"]}), (SAN, "ip", "allow", 0), "host bits",
     san(ip={"allow": ["10.0.0.0/8"]})),
    (san(ip={"fixed": ["host"]}), (SAN, "ip", "fixed", 0), "host", san(ip={"fixed": ["::1"]})),
    (san(email={"fixed": ["a"]}), (SAN, "email", "fixed", 0), "mailbox",
     san(email={"fixed": ["a@b.net"]})),
    ({"key": {"allow": ["EC-P255"]}}, ("key", "allow", 0), "no key algorithm",
     {"key": {"allow": ["RSA-2048+"]}}),
    (certificate(lifetime="60s"), ("certificate", "lifetime"), "backdate",
     certificate(lifetime="61s")),
    (certificate(extended_key_usage=["clientAuth", "1.3.6.1.5.5.7.3.9"]),
     ("certificate", "extended_key_usage"), "answer for the CA",
     certificate(extended_key_usage=["clientAuth", "1.3.6.1.5.5.7.3.8"])),
    (certificate(key_usage=["encipherOnly"]), ("certificate", "key_usage"), "keyAgreement",
     certificate(key_usage=["encipherOnly", "keyAgreement"])),
    (certificate(key_usage=["keyAgreement", "encipherOnly", "decipherOnly"]),
     ("certificate", "key_usage"), "exclude", certificate(key_usage=["keyAgreement"])),
    ({"csr_attributes": {"publish": "nothing"},
      "proof_of_possession": {"channel_binding": "required"}}, ("csr_attributes", "publish"),
     "not told", {"csr_attributes": {"publish": "nothing"}}),
    ({"csr_attributes": {"require": ["1.2.3", "1.2.4", "1.2.3"]}}, ("csr_attributes", "require", 2),
     "twice", {"csr_attributes": {"require": ["1.2.3", "1.2.4"]}}),
    ({"rules": [{"name": "a", "when": "true", "message": "x"}] * 2}, ("rules",), "2 rules",
     {"rules": [{"name": "a", "when": "true", "message": "x"}]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "path", "text", "right"), CASES, ids=[f"{n}-{c[1][-1]}" for n, c in enumerate(CASES)]
)
def test_a_mistake_has_its_place(
    wrong: dict[str, Any], path: Any, text: str, right: dict[str, Any]
) -> None:
    ((where, message, _),) = found(wrong)
    assert where == path
    assert text in message
    assert found(right) == []


def test_a_key_that_is_nearly_right_gets_a_hint() -> None:
    assert found({"key": {"allow": ["EC-256"]}})[0][2] == "did you mean 'EC-P256'?"
    assert "EC-P256, EC-P384" in (found({"key": {"allow": ["secret"]}})[0][2] or "")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": {"country": {"fixed": "Germany"}}},
        san(dns={"allow": ["a*.net"]}),
        san(ip={"fixed": ["host"]}),
    ],
)
def test_a_profile_with_a_wrong_constant_does_not_run(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        profile(changes)
