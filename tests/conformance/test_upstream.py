"""L: this server is the registration authority in front of another EST server (RFC 7030 3.7).

The upstream is a real one, and in its place for its failures a server that fails as it is told to.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import yaml
from asker import Asker, certificates, issued
from cases import case
from cryptography import x509
from est_process import EstServer, initialise, serving
from fake_est import FakeEst, answering

from est_server.pki.authority import make_root
from interop.conformance.asking import (
    base64,
    certification_request,
    challenge,
    common_name,
    new_key,
)

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - certificates valid now
DAYS = timedelta(days=900)
_COMMON: dict[str, Any] = {
    "version": "1",
    "registration": "none",
    "authenticate": [{"credential": {}}],
    "reenroll": {},
    "subject": {"as_requested": "true"},
    "subject_alternative_names": {"as_requested": "true"},
    "key": {"allow": ["EC-P256"]},
    "certificate": {"lifetime": "30d", "extended_key_usage": ["clientAuth"]},
}
_UPSTREAM = {
    "registrar": {
        "certificate": {"lifetime": "30d", "extended_key_usage": ["clientAuth", "cmcRA"]}
    },
    "front": {"proof_of_possession": {"channel_binding": "required"}},
    "review": {"approval": {"mode": "manual", "retry_after": "77s"}},
}
"""What the upstream has: a certificate for its registrar, and what the registrar is in front of."""


def write_profiles(server: EstServer, profiles: dict[str, dict[str, Any]]) -> None:
    for name, changes in profiles.items():
        text = yaml.safe_dump({**_COMMON, "labels": [name], **changes})
        (server.directory / "profiles" / f"{name}.yaml").write_text(text)


def put_cas(server: EstServer, cas: dict[str, dict[str, Any]]) -> None:
    settings = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    settings["cas"].update(cas)
    settings["limits"] = {"attempts_per_address": "100000/1s"}
    server.config.write_text(yaml.safe_dump(settings, sort_keys=False))


@dataclass(frozen=True, slots=True)
class Front:
    """This server, its upstream, and the upstream that fails as it is told to."""

    server: EstServer
    upstream: EstServer
    fake: FakeEst
    folder: Path

    def asker(self, label: str) -> Asker:
        user = f"user-{secrets.token_hex(4)}"
        return Asker(
            self.server, self.folder, label=label, credential=self.server.credential(user, label)
        )


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    upstream = initialise(folder / "upstream")
    write_profiles(upstream, {name: {"ca": "issuing", **rest} for name, rest in _UPSTREAM.items()})
    server = initialise(folder / "server")
    (folder / "fake").mkdir()
    fake = FakeEst(folder / "fake")
    with serving(upstream), answering(fake) as port:
        enroller = Asker(upstream, folder, label="registrar")
        who = enroller.with_(credential=upstream.credential("registrar", "registrar")).enrolled()
        assert who.identity is not None
        copy(who.identity.certificate, server.directory / "ra.pem")
        copy(who.identity.key, server.directory / "ra.key")
        copy(upstream.root, server.directory / "trust" / "upstream.pem")
        copy(fake.folder / "root.pem", server.directory / "trust" / "fake.pem")
        cas: dict[str, dict[str, Any]] = {}
        for label in ("front", "review"):
            user, password = upstream.credential(f"ra-{label}", label)
            (server.directory / "secrets" / label).write_text(password)
            cas[label] = {
                "backend": "est_upstream",
                "url": f"{upstream.url}/{label}",
                "trust": ["trust/upstream.pem"],
                "identity": {"certificate": "ra.pem", "key": "file:ra.key"},
                "credential": {"username": user, "password": f"file:secrets/{label}"},
                "idempotent_for": "10m",
            }
        cas["fake"] = {
            "backend": "est_upstream",
            "url": f"https://127.0.0.1:{port}",
            "trust": ["trust/fake.pem"],
            "credential": {"username": "ra", "password": "file:secrets/front"},
            "timeout": "2s",
        }
        for secret in ("ra.key", "secrets/front", "secrets/review"):
            (server.directory / secret).chmod(0o600)
        put_cas(server, cas)
        bound = {"proof_of_possession": {"channel_binding": "required"}}
        write_profiles(
            server,
            {
                "front": {"ca": "front", **bound},
                "review": {"ca": "review"},
                "fake": {"ca": "fake"},
            },
        )
        with serving(server):
            yield Front(server, upstream, fake, folder)


def csr(*attributes: bytes, key: Any = None) -> bytes:
    name = common_name(f"device-{secrets.token_hex(4)}")
    return certification_request(key or new_key(), name, attributes)


@case(158)
def test_the_request_goes_on_unchanged_and_is_proven_here(front):
    asker = front.asker("front")
    with asker.connect() as connection:
        # bound to the connection with this server, which means nothing to the upstream
        sent = csr(challenge(connection.binding))
        answer = asker.ask("simpleenroll", base64(sent), on=connection)
    assert answer.status == 200, answer.body
    certificate = issued(answer)
    issuer = next(one for one in above(asker) if one.subject == certificate.issuer)
    certificate.verify_directly_issued_by(issuer)
    rows = front.upstream.json("cert", "list", "--limit", "1000")
    [row] = [one for one in rows if int(one["serial"], 16) == certificate.serial_number]
    assert row["identity"] == "ra-front", "upstream knows the registrar, not the device"
    with asker.connect() as connection:
        other = csr(challenge("A" * len(connection.binding)))
        refused = asker.ask("simpleenroll", base64(other), on=connection)
    assert (refused.status, refused.body.split(b":")[0]) == (403, b"pop.mismatch")


@case(159)
def test_who_waits_upstream_waits_here(front):
    asker, sent = front.asker("review"), base64(csr())
    answer = asker.ask("simpleenroll", sent)
    assert answer.status == 202
    assert int(answer.get("Retry-After")) >= 77
    [record] = front.upstream.json("request", "list")
    assert record["identity"] == "ra-review"


@case(159)
def test_what_was_decided_upstream_is_collected_here(front):
    front.fake.fault, front.fake.retry_after = "pending", "1"
    asker, sent = front.asker("fake"), base64(csr())
    assert asker.ask("simpleenroll", sent).status == 202
    front.fake.heal()
    assert until(lambda: asker.ask("simpleenroll", sent).status == 200)
    again = [issued(asker.ask("simpleenroll", sent)) for _ in range(2)]
    assert again[0] == again[1]
    front.fake.retry_after = "33"


@case(160)
@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_upstream_is_one_here(front, status):
    front.fake.fault, front.fake.says = "refused", (status, b"SELECT secret FROM inside")
    answer = front.asker("fake").ask("simpleenroll", base64(csr()))
    assert answer.status == 403
    assert answer.body.startswith(b"ca.refused: ")
    assert b"inside" not in answer.body


@case(161)
def test_an_upstream_that_is_away_and_comes_back(front):
    front.fake.fault = "unavailable"
    asker, sent = front.asker("fake"), base64(csr())
    answer = asker.ask("simpleenroll", sent)
    assert (answer.status, answer.get("Retry-After")) == (503, "33")
    assert above(asker) == {*front.fake.cacerts}, "what is known stays known"
    front.fake.fault = ""
    assert asker.ask("simpleenroll", base64(csr())).status == 200


@case(162)
@pytest.mark.parametrize(
    ("wrong", "rule"), [("wrong-key", b"issued.key"), ("wrong-names", b"issued.subject")]
)
def test_another_certificate_than_was_asked_for_goes_nowhere(front, wrong, rule):
    before = front.fake.certificates()
    front.fake.fault = wrong
    sent = csr()
    answer = front.asker("fake").ask("simpleenroll", base64(sent))
    assert front.fake.asked[-1] == sent, "unchanged, signature and all"
    assert (answer.status, answer.body.split(b":")[0]) == (502, rule)
    [made] = [one for one in front.fake.certificates() if one not in before]
    shown = front.server.json("cert", "list", "--limit", "1000")
    found = [row for row in shown if int(row["serial"], 16) == made.serial_number]
    assert found, "what exists upstream can be found here"


@case(163)
def test_the_upstreams_certificates_are_followed(front):
    asker, before = front.asker("fake"), front.fake.cacerts
    assert above(asker) == {*before}
    new = make_root("Next", "EC-P256", lifetime=DAYS, now=NOW).certificate
    front.fake.cacerts = [new]
    assert until(lambda: above(asker) == {new})


def above(asker: Asker) -> set[x509.Certificate]:
    return {*certificates(asker.ask("cacerts"))}


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.3)
    return True
