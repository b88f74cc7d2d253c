"""C: /cacerts while a root follows another (RFC 7030 4.1.3, RFC 4210 4.4)."""

from __future__ import annotations

import pytest
from asker import Asker, certificates
from cases import case
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from est_process import initialise, serving

from interop.conformance.connection import Endpoint


@pytest.fixture(scope="module", params=["publish", "switch"])
def rolled(request, tmp_path_factory):
    """Return an asker of a server whose rollover has come this far, and both roots' files."""
    server = initialise(tmp_path_factory.mktemp("rolled") / "server", "--interop")
    with serving(server):
        for action in ("prepare", "publish", "switch"):
            server.run("ca", "rollover", action, "issuing", "--yes")
            if action == request.param:
                break
        (new,) = (server.directory / "ca").glob("issuing-g2-*/root.pem")
        yield Asker(server, tmp_path_factory.mktemp("asker")), server.root, new


def signed(certificate, issuer):
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, InvalidSignature):
        return False
    return True


@case(41)
def test_the_server_is_validated_by_either_root(rolled):
    asker, *roots = rolled
    host, _, port = asker.server.est.rpartition(":")
    for root in roots:
        with Endpoint(host, int(port), root).connect():
            pass


@case(47)
@case(48)
@case(49)
def test_cacerts_has_old_and_new_each_certified_by_the_other(rolled):
    asker, old_file, new_file = rolled
    old, new = (x509.load_pem_x509_certificate(one.read_bytes()) for one in (old_file, new_file))
    found = certificates(asker.ask("cacerts"))
    keys = {"old": old.public_key(), "new": new.public_key()}
    pairs = {
        (subject, issuer)
        for one in found
        for subject, key in keys.items()
        for issuer, root in (("old", old), ("new", new))
        if one.public_key() == key and signed(one, root)
    }
    assert pairs == {("old", "old"), ("old", "new"), ("new", "old"), ("new", "new")}
    roots = [one for one in found if signed(one, one)]
    ends = [one.not_valid_after_utc for one in roots]
    assert ends.count(max(ends)) == 1
    assert roots[ends.index(max(ends))] == new
    # by its own key or by a key that the newest root certifies
    by_new = [one for one in found if signed(one, new)]
    for one in found:
        assert any(signed(one, above) for above in by_new)
    assert len({one.public_bytes(Encoding.DER) for one in found}) == 6
