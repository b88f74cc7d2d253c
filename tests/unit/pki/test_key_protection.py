"""Which algorithms follow from what a client is willing to use."""

from __future__ import annotations

import pytest
from asn1crypto import algos, core
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from est_server.pki.key_protection import Algorithms, algorithms_for
from est_server.wire.key_protection import Capability

AES = "2.16.840.1.101.3.4.1"
CBC = {16: Capability(f"{AES}.2"), 24: Capability(f"{AES}.22"), 32: Capability(f"{AES}.42")}
WRAP = {16: Capability(f"{AES}.5"), 24: Capability(f"{AES}.25"), 32: Capability(f"{AES}.45")}
GCM, TRIPLE_DES = Capability(f"{AES}.46"), Capability("1.2.840.113549.3.7")
NULL = Capability("1.2.840.113549.3.0")
RSA, OAEP_SHA1 = Capability("1.2.840.113549.1.1.1"), Capability("1.2.840.113549.1.1.7")
KEY_RSA = rsa.generate_private_key(65537, 2048).public_key()
P256, P384, P521, K1 = (
    ec.generate_private_key(curve).public_key()
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
)


def oaep(digest: str, mask: str | None = None) -> Capability:
    mask_algorithm = {"algorithm": "mgf1", "parameters": {"algorithm": mask or digest}}
    parameters = {"hash_algorithm": {"algorithm": digest}, "mask_gen_algorithm": mask_algorithm}
    return Capability(OAEP_SHA1.oid, algos.RSAESOAEPParams(parameters).dump())


def ecdh(kdf: str, wrap: Capability | None = None) -> Capability:
    oid = {"sha1": "1.3.133.16.840.63.0.2", "sha256": "1.3.132.1.11.1", "sha384": "1.3.132.1.11.2",
           "sha512": "1.3.132.1.11.3"}[kdf]  # fmt: skip
    if wrap is None:
        return Capability(oid)
    return Capability(oid, core.SequenceOf([core.ObjectIdentifier(wrap.oid)],
                                           spec=core.ObjectIdentifier).dump())  # fmt: skip


@pytest.mark.parametrize(
    ("capabilities", "octets", "expected"),
    [
        ([CBC[16], CBC[32], WRAP[32]], 32, Algorithms("kekri", 32, wrap_octets=32)),
        ([WRAP[16], CBC[16]], 16, Algorithms("kekri", 16, wrap_octets=16)),
        ([CBC[32]], 16, Algorithms("kekri", 32, wrap_octets=16)),
        ([WRAP[32]], 32, Algorithms("kekri", 32, wrap_octets=32)),
        ([TRIPLE_DES, CBC[24]], 24, Algorithms("kekri", 24, wrap_octets=24)),
    ],
)
def test_a_secret_key_wraps_with_its_own_length(
    capabilities: list[Capability], octets: int, expected: Algorithms
) -> None:
    assert algorithms_for(capabilities, octets) == expected


@pytest.mark.parametrize(
    ("capabilities", "transport", "octets"),
    [
        ([CBC[32]], "pkcs1", 32),
        ([RSA], "pkcs1", 16),
        ([RSA, CBC[16], TRIPLE_DES], "pkcs1", 16),
        ([RSA, OAEP_SHA1, CBC[32]], "oaep-sha1", 32),
        ([oaep("sha256"), RSA, CBC[32]], "oaep-sha256", 32),
        ([oaep("sha512"), RSA, CBC[32]], "pkcs1", 32),
        ([oaep("sha256", "sha1"), RSA, CBC[32]], "pkcs1", 32),
        ([Capability(OAEP_SHA1.oid, b"\x05\x00"), RSA], "pkcs1", 16),
    ],
)
def test_an_rsa_key_gets_oaep_where_the_client_takes_it(
    capabilities: list[Capability], transport: str, octets: int
) -> None:
    found = algorithms_for(capabilities, KEY_RSA)
    assert (found.kind, found.transport, found.content_octets) == ("ktri", transport, octets)


@pytest.mark.parametrize(
    ("capabilities", "key", "kdf", "wrap", "octets"),
    [
        ([CBC[16]], P256, "sha256", 16, 16),
        ([CBC[32]], P256, "sha256", 32, 32),
        ([ecdh("sha256", WRAP[16]), CBC[32]], P256, "sha256", 16, 32),
        ([ecdh("sha384", WRAP[32])], P256, "sha384", 32, 16),
        ([ecdh("sha256"), ecdh("sha384")], P384, "sha384", 32, 32),
        ([ecdh("sha512"), WRAP[32], CBC[32]], P521, "sha512", 32, 32),
        ([ecdh("sha1"), ecdh("sha256", WRAP[24])], P256, "sha256", 24, 16),
        ([WRAP[16], CBC[16]], P384, "sha384", 16, 16),
    ],
)
def test_an_ec_key_agrees_with_the_hash_of_its_curve(
    capabilities: list[Capability],
    key: ec.EllipticCurvePublicKey,
    kdf: str,
    wrap: int,
    octets: int,
) -> None:
    found = algorithms_for(capabilities, key)
    assert found == Algorithms("kari", octets, kdf=kdf, wrap_octets=wrap)


@pytest.mark.parametrize(
    ("capabilities", "key"),
    [
        ([], 16), ([], KEY_RSA), ([], P256),
        ([TRIPLE_DES], 16), ([NULL], KEY_RSA), ([GCM], P256), ([TRIPLE_DES, RSA], KEY_RSA),
        ([WRAP[16], CBC[16]], 32), ([RSA, CBC[16]], 16),
        ([WRAP[16], CBC[16]], KEY_RSA), ([oaep("sha512"), CBC[16]], KEY_RSA),
        ([CBC[16]], rsa.generate_private_key(65537, 1024).public_key()),
        ([RSA, CBC[16]], P256), ([ecdh("sha1"), CBC[16]], P256),
        ([ecdh("sha256", TRIPLE_DES), CBC[16]], P256), ([CBC[16]], K1),
    ],
)  # fmt: skip
def test_what_is_weak_or_unknown_leads_to_a_refusal(
    capabilities: list[Capability], key: int | rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> None:
    with pytest.raises(ValueError, match="capabilities|bits|agreement"):
        algorithms_for(capabilities, key)


KNOWN = [
    *(*CBC.values(), *WRAP.values(), GCM, TRIPLE_DES, NULL, RSA, OAEP_SHA1, oaep("sha256")),
    *(ecdh("sha1"), ecdh("sha256"), ecdh("sha384", WRAP[32]), ecdh("sha512", TRIPLE_DES)),
]
OIDS = [one.oid for one in KNOWN]


@given(
    st.lists(
        st.sampled_from(KNOWN)
        | st.builds(
            Capability, st.sampled_from([one.oid for one in KNOWN]), st.binary(max_size=40)
        ),
        max_size=8,
    ),
    st.sampled_from([16, 24, 32, KEY_RSA, P256, P384, P521, K1]),
)
def test_nothing_is_used_that_was_not_offered(
    capabilities: list[Capability],
    key: int | rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
) -> None:
    try:
        found = algorithms_for(capabilities, key)
    except ValueError:
        return
    oids = {one.oid for one in capabilities}
    ciphers = {octets for octets, one in CBC.items() if one.oid in oids}
    if ciphers:
        assert found.content_octets == max(ciphers)
    else:
        assert oids
        assert not oids & {GCM.oid, TRIPLE_DES.oid, NULL.oid}
    if found.transport != "pkcs1":
        assert OAEP_SHA1.oid in oids
