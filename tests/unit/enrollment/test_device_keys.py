"""Devices' secret keys at rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.enrollment.device_keys import seal, unseal
from est_server.errors import BackendUnavailable, Malformed

SECRET = b"s" * 32


KEYS = st.sampled_from((16, 24, 32)).flatmap(lambda n: st.binary(min_size=n, max_size=n))
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)


@given(KEYS, NAMES, st.binary(min_size=1, max_size=20))
def test_a_key_comes_back_and_is_not_readable_meanwhile(
    key: bytes, device: str, name: bytes
) -> None:
    sealed = seal(key, device, name, SECRET)
    assert key not in sealed
    assert unseal(sealed, device, name, SECRET) == key


def test_the_same_key_is_never_sealed_alike() -> None:
    assert seal(bytes(16), "SN-1", b"k", SECRET) != seal(bytes(16), "SN-1", b"k", SECRET)


@pytest.mark.parametrize(
    ("device", "name", "secret"),
    [
        ("SN-2", b"k", SECRET),
        ("SN-1", b"l", SECRET),
        ("SN-1", b"k", b"t" * 32),
        ("SN-1k", b"", SECRET),
    ],
)
def test_a_row_that_was_moved_is_not_read(device: str, name: bytes, secret: bytes) -> None:
    sealed = seal(bytes(32), "SN-1", b"k", SECRET)
    with pytest.raises(BackendUnavailable) as refused:
        unseal(sealed, device, name, secret)
    assert refused.value.rule == "device-key.sealed"


def test_a_changed_row_is_not_read() -> None:
    sealed = bytearray(seal(bytes(32), "SN-1", b"k", SECRET))
    sealed[-1] ^= 1
    for wrong in (bytes(sealed), b"", bytes(12)):
        with pytest.raises(BackendUnavailable):
            unseal(wrong, "SN-1", b"k", SECRET)


@pytest.mark.parametrize("octets", [0, 8, 15, 17, 31, 33, 64])
def test_only_aes_keys_are_taken(octets: int) -> None:
    with pytest.raises(Malformed):
        seal(bytes(octets), "SN-1", b"k", SECRET)
