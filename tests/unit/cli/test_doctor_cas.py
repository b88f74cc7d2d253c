"""What doctor says of a CA that can't be used, and what mends it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from est_server.cli.doctor_cas import check_cas
from est_server.errors import BackendUnavailable
from est_server.ports.ca import Health


class Authority:
    def __init__(self, *, ok):
        self.ok = ok

    async def health(self):
        return Health(ok=self.ok, detail="said so")


async def found(**cas):
    broken = {name: one for name, one in cas.items() if isinstance(one, BackendUnavailable)}
    opened = {name: one for name, one in cas.items() if name not in broken}
    patient = SimpleNamespace(
        cas=SimpleNamespace(broken=broken, open=opened), path=Path("server.yaml")
    )
    return [finding async for finding in check_cas(patient)]


@pytest.mark.parametrize(
    ("rule", "hint", "then"),
    [
        ("ca.unreachable", "no route", "no route; see that its service is up and can be reached"),
        ("ca.forbidden", None, "let this server's account use it there"),
        ("ca.misconfigured", "no such CA", "no such CA; correct cas.company in server.yaml"),
        ("ca.unusable", "check `key`", "check `key`"),
    ],
)
async def test_what_is_broken_is_named_with_what_mends_it(rule, hint, then):
    error = BackendUnavailable(rule, "it can't be asked now", hint=hint)
    [finding] = await found(company=error)
    assert (finding.status, finding.detail) == ("fail", "company: it can't be asked now")
    assert finding.next.startswith(then)
    assert "{" not in finding.next


async def test_who_answers_is_asked():
    well, ill = await found(a=Authority(ok=True), b=Authority(ok=False))
    assert (well.status, well.next) == ("ok", None)
    assert (ill.status, ill.next) == ("fail", "est-server ca test-sign b -c server.yaml")
