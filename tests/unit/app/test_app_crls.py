"""Which CA publishes lists, and what its certificates say about them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from est_server.app.authorities import open_authorities
from est_server.app.crls import crl_pointers, crl_section, open_crls
from est_server.app.parts import issuers_of
from est_server.cli.hierarchy import Wanted, build
from est_server.config.configuration import load
from est_server.errors import ConfigurationError
from est_server.ports.ca import Capabilities


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pki")
    wanted = Wanted(
        ("pki.example.net",), "127.0.0.1:0", "127.0.0.1:80", "127.0.0.1:0", "EC-P256", False
    )
    build(made, wanted)
    return made


@pytest.fixture
def configured(folder):
    """Return configuration and CA with this text in the CA's section."""

    async def make(section=None, *, signs=True, public=True):
        text = (folder / "server.yaml").read_text()
        if section is not None:
            text = text.replace("    backend: soft", f"    crl: {section}\n    backend: soft", 1)
        if not public:
            begin = text.index("  public:")
            text = text[:begin] + text[text.index("  admin:") :]
        (folder / "changed.yaml").write_text(text)
        configuration = load(folder / "changed.yaml")
        authority = (await open_authorities(configuration))["issuing"]
        return configuration, authority if signs else Elsewhere(authority)

    yield make
    (folder / "changed.yaml").unlink(missing_ok=True)


class Elsewhere:
    """The CA, as if its key were another's."""

    def __init__(self, authority):
        self._authority = authority

    capabilities = Capabilities()

    def certificates(self):
        return self._authority.certificates()


async def test_a_ca_whose_key_is_here_publishes_by_itself(configured):
    configuration, authority = await configured()
    pointers, shards = crl_pointers(configuration, "issuing", authority)
    assert pointers.crl == ("http://pki.example.net:80/crl/issuing.crl",)
    assert pointers.freshest_crl == ("http://pki.example.net:80/crl/issuing-delta.crl",)
    assert shards == 0
    [issuer] = issuers_of(configuration, {"issuing": authority}).values()
    assert issuer.publishes("crl")
    assert issuer.pointers.ca_issuers


async def test_a_ca_elsewhere_publishes_its_own_lists(configured):
    configuration, authority = await configured(signs=False)
    assert crl_section(configuration, "issuing", authority) is None
    assert not issuers_of(configuration, {"issuing": authority})["issuing"].publishes("crl")
    assert open_crls(configuration, {"issuing": authority}, None).publisher.issuers == {}


async def test_lists_that_a_ca_can_not_sign_are_a_mistake_with_its_place(configured):
    configuration, authority = await configured("{}", signs=False)
    with pytest.raises(ConfigurationError) as refused:
        crl_section(configuration, "issuing", authority)
    (problem,) = refused.value.problems
    assert problem.code == "E270"
    line = configuration.document.text.split("\n")[problem.position.line - 1]
    assert line.strip() == "crl: {}"


@pytest.mark.parametrize(
    ("section", "crl", "delta", "shards"),
    [
        ("{enabled: false}", None, None, 0),
        ("{delta: false}", "http://pki.example.net:80/crl/issuing.crl", None, 0),
        ("{shards: 2}", "http://pki.example.net:80/crl/issuing-{shard}.crl",
         "http://pki.example.net:80/crl/issuing-{shard}-delta.crl", 2),
        ("{url: http://crl.example.net/x}", "http://crl.example.net/x/issuing.crl",
         "http://crl.example.net/x/issuing-delta.crl", 0),
    ],
)  # fmt: skip
async def test_certificates_say_what_the_section_says(configured, section, crl, delta, shards):
    configuration, authority = await configured(section)
    pointers, found = crl_pointers(configuration, "issuing", authority)
    assert pointers.crl == (() if crl is None else (crl,))
    assert pointers.freshest_crl == (() if delta is None else (delta,))
    assert found == shards
    issuers = open_crls(configuration, {"issuing": authority}, None).publisher.issuers
    assert bool(issuers) is (crl is not None)


async def test_without_a_listener_nobody_is_told_of_lists(configured):
    configuration, authority = await configured(public=False)
    assert crl_section(configuration, "issuing", authority) is None
    assert not issuers_of(configuration, {"issuing": authority})["issuing"].publishes("crl")


@pytest.mark.parametrize(
    ("section", "delta", "complete", "kept"),
    [
        (None, True, "interval", True),
        ("{complete: revocation}", True, "revocation", False),
        ("{delta: false}", False, "revocation", False),
    ],
)
async def test_followers_are_told_which_list_shows_a_revocation(
    configured, section, delta, complete, kept
):
    configuration, authority = await configured(section)
    crls = open_crls(configuration, {"issuing": authority}, None)
    assert crls.described() == {"issuing": {"delta": delta, "complete": complete}}
    # what may change at any time is kept by no cache until the next is due
    assert (("issuing", "base") in crls.endpoint().keep) is kept


async def test_compact_sets_are_made_only_where_they_are_asked_for(configured):
    configuration, authority = await configured(
        "{}\n    compact: {every: 10m, lifetime: 1h, lag: 20m}"
    )
    crls = open_crls(configuration, {"issuing": authority}, None)
    (issuer,) = crls.compact.issuers.values()
    times = (issuer.times.every, issuer.times.lifetime, issuer.times.lag)
    assert times == tuple(timedelta(minutes=minutes) for minutes in (10, 60, 20))
    assert crls.endpoint().keep["issuing", "compact"] == timedelta(minutes=10)
    configuration, authority = await configured("{}")
    assert not open_crls(configuration, {"issuing": authority}, None).compact.issuers


async def test_sets_that_a_ca_can_not_sign_are_a_mistake_with_its_place(configured):
    configuration, authority = await configured("{enabled: false}\n    compact: {}", signs=False)
    with pytest.raises(ConfigurationError) as refused:
        open_crls(configuration, {"issuing": authority}, None)
    (problem,) = refused.value.problems
    assert problem.code == "E270"
    line = configuration.document.text.split("\n")[problem.position.line - 1]
    assert line.strip() == "compact: {}"
