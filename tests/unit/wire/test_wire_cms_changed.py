"""No octets give anything but a value or Malformed from the readers of SignedData and envelopes."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from key_delivery_world import enveloped, private_key, signed

from est_server.errors import Malformed
from est_server.wire.cms_open import open_envelope
from est_server.wire.cms_signed import KEY_PACKAGE, unpack_key_package, verify_signed

KEK = bytes(16)
SEEDS = [
    (enveloped("kekri", kek=KEK), KEK),
    (enveloped("RSA-2048", transport="oaep-sha256"), private_key("RSA-2048")),
    (enveloped("EC-P256"), private_key("EC-P256")),
]
EXAMPLES = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def changed(draw, seed):
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        octet = draw(st.sampled_from((0x00, 0x02, 0x05, 0x30, 0x80, 0xFF)) | st.integers(0, 255))
        match draw(st.sampled_from(("set", "delete", "insert"))):
            case "set":
                data[at] = octet
            case "delete":
                del data[at]
            case _:
                data.insert(at, octet)
    return bytes(data)


@pytest.mark.parametrize("number", range(len(SEEDS)))
@EXAMPLES
@given(data=st.data())
def test_a_changed_envelope_opens_or_is_malformed(number, data):
    seed, opener = SEEDS[number]
    with contextlib.suppress(Malformed):
        open_envelope(data.draw(changed(seed)), opener)


@EXAMPLES
@given(data=st.data())
def test_changed_signed_data_is_the_same_content_or_malformed(data):
    original, _ = verify_signed(signed(), KEY_PACKAGE)
    with contextlib.suppress(Malformed):
        content, _ = verify_signed(data.draw(changed(signed())), KEY_PACKAGE)
        assert content == original


@EXAMPLES
@given(noise=st.binary(max_size=300))
def test_random_octets_are_malformed(noise):
    for read in (
        lambda: open_envelope(noise, KEK),
        lambda: verify_signed(noise, KEY_PACKAGE),
    ):
        with pytest.raises(Malformed):
            read()
    with contextlib.suppress(Malformed):
        unpack_key_package(noise)
