"""RFC 7512 URIs: which are read, which are refused, and that nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.pkcs11_uri import Pkcs11Uri
from est_server.ports.secret import Secret

MODULE = "module-path=/usr/lib/p11.so"
PRINTABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20
)


def test_what_the_configuration_says_is_read():
    uri = Pkcs11Uri.parse(
        "pkcs11:token=My%20CA;serial=0123;object=issuing;id=%00%ff;type=private"
        f"?{MODULE}&pin-source=file:/run/pin"
    )
    assert uri == Pkcs11Uri(
        "/usr/lib/p11.so", token="My CA", serial="0123", object="issuing", id=b"\x00\xff",
        pin_source=Secret("file", "/run/pin"),
    )  # fmt: skip
    assert uri.names_key
    assert not Pkcs11Uri.parse(f"pkcs11:slot-id=3?{MODULE}").names_key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a PKCS #11 URI"),
        ("PKCS11:token=a", "not a PKCS #11 URI"),
        (f"pkcs11:?{MODULE}", "say which token"),
        (f"pkcs11:object=a?{MODULE}", "say which token"),
        ("pkcs11:token=a;object=b", "say which library"),
        ("pkcs11:token=a?module-path=p11.so", "say which library"),
        ("pkcs11:token=a?module-name=p11", "known attributes"),
        (f"pkcs11:token=a;token=a?{MODULE}", "token comes twice"),
        (f"pkcs11:token=a;library-version=1?{MODULE}", "known attributes"),
        (f"pkcs11:token=a;x-mine=1?{MODULE}", "known attributes"),
        (f"pkcs11:token=a b?{MODULE}", "%XX"),
        (f"pkcs11:token=a%2?{MODULE}", "%XX"),
        (f"pkcs11:token=a/b?{MODULE}", "%XX"),
        (f"pkcs11:token=%ff?{MODULE}", "UTF-8"),
        (f"pkcs11:token=a%00?{MODULE}", "can't be shown"),
        (f"pkcs11:token=?{MODULE}", "empty"),
        (f"pkcs11:token=a;type=public?{MODULE}", "type=private"),
        (f"pkcs11:slot-id=01?{MODULE}", "slot-id"),
        (f"pkcs11:token=a;?{MODULE}", "known attributes"),
        (f"pkcs11:token=a?{MODULE}&pin-source=|ask", "must be a file"),
        (f"pkcs11:token=a?{MODULE}&pin-source=https://pin", "must be a file"),
        ("pkcs11:token=" + "a" * 5000, "not a PKCS #11 URI"),
    ],
)
def test_what_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        Pkcs11Uri.parse(text)


def test_a_pin_in_the_uri_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="named, never written") as caught:
        Pkcs11Uri.parse(f"pkcs11:token=a?{MODULE}&pin-value=98127634")
    assert "98127634" not in str(caught.value)


@given(
    PRINTABLE, st.none() | PRINTABLE, st.none() | st.binary(min_size=1, max_size=20),
    st.none() | st.integers(0, 1 << 60), st.none() | PRINTABLE,
)  # fmt: skip
def test_what_is_written_is_read_again(token, label, key_id, slot, path):
    pin = None if path is None else Secret("file", "/" + path)
    uri = Pkcs11Uri(
        "/usr/lib/" + (path or "p11"), token=token, object=label, id=key_id, slot_id=slot,
        pin_source=pin,
    )  # fmt: skip
    assert Pkcs11Uri.parse(str(uri)) == uri


@given(st.text(max_size=200) | st.from_regex(r"pkcs11:[a-z=;%0-9&?/-]*", fullmatch=True))
def test_no_text_does_anything_but_fail(text):
    try:
        uri = Pkcs11Uri.parse(text)
    except ValueError:
        return
    assert Pkcs11Uri.parse(str(uri)) == uri
