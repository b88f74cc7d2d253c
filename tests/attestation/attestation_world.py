"""Servers that take toy evidence, and who asks them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from secrets import token_hex
from typing import Any

import pytest
import yaml
from asker import Asker
from toy import MAKER_KEY, toy_csr

from interop.conformance.asking import base64

POLICIES: dict[str, Any] = {
    "toys": {
        "rules": [
            {
                "name": "key",
                "verifier": "toy",
                "keys": [MAKER_KEY],
                "least_svn": 7,
                "expect": [
                    {"claim": "firmware", "at_least": "1.4"},
                    {"claim": "debug", "none_of": ["on"], "otherwise": "warning"},
                ],
            }
        ],
        "on_result": {"warning": {"do": "issue", "lifetime": "1h"}},
    },
    "slow": {"rules": [{"name": "key", "verifier": "slow-toy", "keys": [MAKER_KEY]}]},
    "queue": {
        "rules": [{"name": "key", "verifier": "toy", "keys": [MAKER_KEY], "least_svn": 7}],
        "on_result": {"contraindicated": {"do": "approve"}},
    },
}
PROFILE = {
    "version": 1,
    "ca": "issuing",
    "registration": "none",
    "authenticate": [{"credential": {}}],
    "reenroll": {},
    "subject": {"as_requested": True},
    "key": {"allow": ["EC-P256"]},
    "certificate": {"lifetime": "90d"},
}


def attested(server, profiles, policies, **settings):
    """Add profiles and policies to a server that does not run yet."""
    for name, policy in policies.items():
        path = server.directory / "policies" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"version": 1, **policy}))
    for name, (policy, changes) in profiles.items():
        profile = {**PROFILE, "labels": [name], "attestation": {"policy": policy}, **changes}
        path = server.directory / "profiles" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(profile))
    content = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    content["attestation"] = settings
    content["limits"] = {"nonces_per_address": "100000/1s"}
    server.config.write_text(yaml.safe_dump(content))
    return server


def toy_asker(server, tmp_path_factory, plugin, version, label="toys") -> Asker:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(plugin))
        credential = server.credential(f"maker-{token_hex(4)}", label)
    folder = tmp_path_factory.mktemp("askers")
    return Asker(server, folder, version=version[:3], credential=credential, label=label)


def nonce_of(answer) -> bytes:
    assert answer.status == 200, (answer.status, answer.body)
    text = json.loads(answer.body)["nonce"]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def fresh(asker, connection) -> bytes:
    return nonce_of(asker.ask("nonce", on=connection))


def send(asker, csr: bytes, connection=None, operation="simpleenroll", *fields):
    return asker.ask(operation, base64(csr), *fields, on=connection)


def offered(asker, nonce, *fields, on=None, **changes):
    """Return the answer to a request with toy evidence."""
    return asker.ask("simpleenroll", base64(toy_csr(nonce, **changes)), *fields, on=on)


def refusal(answer) -> tuple[int, str]:
    return answer.status, answer.body.decode().split(":")[0]
