"""What a token says of its PIN before one is sent: one that counts is never locked from here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pkcs11 = pytest.importorskip("pkcs11")

from pkcs11 import TokenFlag  # noqa: E402 - not without it

from backends import pkcs11_token  # noqa: E402
from backends.pkcs11_messages import Opening  # noqa: E402

PIN = "12345678"


def module_with(monkeypatch, flags, fails=None):
    """Put a token in place, return what it is sent; SoftHSM counts no tries."""
    sent = []

    def open_(**options):
        sent.append(options["user_pin"])
        if fails is not None:
            raise fails
        return SimpleNamespace(get_objects=lambda _: [])

    token = SimpleNamespace(
        label="ca", serial=b"1", manufacturer_id="m", model="m", open=open_,
        flags=TokenFlag.TOKEN_INITIALIZED | TokenFlag.LOGIN_REQUIRED | flags,
    )  # fmt: skip
    slot = SimpleNamespace(slot_id=1, get_token=lambda: token)
    module = SimpleNamespace(get_slots=lambda **_: [slot], finalize=lambda: None)
    monkeypatch.setattr(pkcs11_token.pkcs11, "lib", lambda _: module)
    return sent


def refusal():
    with pytest.raises(pkcs11_token.TokenError) as caught:
        pkcs11_token.open_token(Opening("/m.so", {"token": "ca"}, PIN, 1, object="issuing"))
    return caught.value.failed


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (TokenFlag.USER_PIN_FINAL_TRY, "one more PIN only, and that one is left to you"),
        (TokenFlag.USER_PIN_LOCKED, "is locked"),
    ],
)
def test_no_pin_is_sent_to_a_token_that_could_lock_itself(monkeypatch, flag, said):
    sent = module_with(monkeypatch, flag)
    failed = refusal()
    assert said in failed.message
    assert sent == []
    assert not failed.pin_refused, "once somebody has logged in by hand, it goes on by itself"


@pytest.mark.parametrize("error", [pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinLocked])
def test_a_pin_that_is_refused_is_told_apart(monkeypatch, error):
    sent = module_with(monkeypatch, TokenFlag.USER_PIN_COUNT_LOW, error())
    failed = refusal()
    assert failed.pin_refused
    assert sent == [PIN]
    assert PIN not in failed.message + failed.hint


def test_a_key_that_is_missing_comes_after_the_login(monkeypatch):
    sent = module_with(monkeypatch, TokenFlag.USER_PIN_COUNT_LOW)
    assert "no private key object=issuing" in refusal().message
    assert sent == [PIN]
