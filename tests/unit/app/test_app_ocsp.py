"""Which CA is answered for, what its certificates say about it, and what a rollover adds."""

from __future__ import annotations

import pytest

from est_server.app.authorities import open_authorities
from est_server.app.ocsp import ocsp_policy, open_ocsp
from est_server.app.parts import issuers_of
from est_server.cli.hierarchy import Wanted, build
from est_server.config.configuration import load
from est_server.ports.ca import Capabilities
from est_server.revocation.ocsp_policy import OcspPolicy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pki")
    names, public = ("pki.example.net",), "127.0.0.1:80"
    build(made, Wanted(names, "127.0.0.1:0", public, "127.0.0.1:0", "EC-P256", False))
    return made


@pytest.fixture
def configured(folder):
    """Return configuration and CA with this text in the CA's section."""

    async def make(section=None, *, public=True):
        text = (folder / "server.yaml").read_text()
        if section is not None:
            text = text.replace("    backend: soft", f"    ocsp: {section}\n    backend: soft", 1)
        if not public:
            begin = text.index("  public:")
            text = text[:begin] + text[text.index("  admin:") :]
        (folder / "changed.yaml").write_text(text)
        configuration = load(folder / "changed.yaml")
        return configuration, (await open_authorities(configuration))["issuing"]

    yield make
    (folder / "changed.yaml").unlink(missing_ok=True)


class Elsewhere:
    """A CA whose key is another's."""

    capabilities = Capabilities()


@pytest.mark.parametrize(
    ("section", "public", "here", "elsewhere"),
    [
        (None, True, OcspPolicy(), None),
        ("{never_issued: revoked}", True, *[OcspPolicy(never_issued="revoked")] * 2),
        ("{enabled: false}", True, None, None),
        (None, False, None, None),
        ("{}", False, None, None),
    ],
)
async def test_who_is_answered_for(configured, section, public, here, elsewhere):
    configuration, authority = await configured(section, public=public)
    assert ocsp_policy(configuration, "issuing", authority) == here
    assert ocsp_policy(configuration, "issuing", Elsewhere()) == elsewhere
    [issuer] = issuers_of(configuration, {"issuing": authority}).values()
    url = ("http://pki.example.net:80/ocsp",)
    assert issuer.pointers.ocsp == (url if here else ())


async def test_the_successor_of_a_rollover_is_answered_for_too(configured, world):
    class Followed:
        ca, successor = "issuing", "issuing-g2"

    world.add_ca("issuing-g2")
    configuration, authority = await configured("{lifetime: 2h}")
    made = open_ocsp(world.ledger)
    made.follow(configuration, {"issuing": authority}, ())
    await made.start()
    old = made.service.cas["issuing"]
    successor = world.cas["issuing-g2"].responder.authority
    both = {"issuing": authority, "issuing-g2": successor}
    made.follow(configuration, both, (Followed(),))
    assert made.service.cas["issuing"] is old
    assert made.service.cas["issuing-g2"].responder.policy == OcspPolicy(
        lifetime=old.responder.policy.lifetime
    )
    await made.start()
    serial = await world.certificate("issuing-g2")
    answer, slot = await made.service.answer(world.request(serial, ca="issuing-g2"))
    assert (answer.outcome, slot is not None) == ("good", True)
    await world.revoke(serial, ca="issuing-g2")
    await made.follower.look()
    assert slot.answer is None
