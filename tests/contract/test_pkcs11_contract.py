"""A CA in a token, over a real one: what it signs, and what it says when it can't."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from pkcs11_tokens import MODULE, PIN, make_root_in, new_token, softhsm

from est_server.errors import BackendUnavailable

ALGORITHMS = ("EC-P256", "EC-P384", "RSA-2048", "RSA-3072", "RSA-4096")


@pytest.fixture
def token(tmp_path, monkeypatch, need):
    need("softhsm2", MODULE, "softhsm2-util")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    return new_token(tmp_path)


@pytest.fixture
async def ca(token):
    make_root_in(token, "EC-P256")
    authority = token.open(timeout="3s")
    yield authority
    await authority.close()


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    found = []
    start = asyncio.create_subprocess_exec

    async def counting(*arguments, **options):
        found.append(await start(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", counting)
    return found


async def refusal(authority):
    with pytest.raises(BackendUnavailable) as caught:
        await authority.sign_tbs(b"x")
    return caught.value


async def until(check, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := await check()):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_key_signs_what_verifies(token, algorithm):
    root = make_root_in(token, algorithm)
    root.verify_directly_issued_by(root)
    authority = token.open()
    text = b"x" * (1 << 21)
    try:
        health = await authority.health()
        signature = await authority.sign_tbs(text)
    finally:
        await authority.close()
    assert health.ok, health.detail
    key = root.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, PKCS1v15(), SHA256())
    else:
        key.verify(signature, text, ECDSA(SHA384() if algorithm == "EC-P384" else SHA256()))


async def test_pss_is_padded_as_it_says(token):
    key = make_root_in(token, "RSA-2048").public_key()
    authority = token.open(rsa_padding="PSS")
    try:
        signature = await authority.sign_tbs(b"x")
    finally:
        await authority.close()
    key.verify(signature, b"x", PSS(MGF1(SHA256()), 32), SHA256())
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"x", PKCS1v15(), SHA256())


async def test_keys_never_leave_their_token(token):
    make_root_in(token, "EC-P256")
    script = (
        "import sys, pkcs11\n"
        f"token = pkcs11.lib({MODULE!r}).get_token(token_label='ca')\n"
        f"with token.open(user_pin={PIN!r}) as session:\n"
        "    kind = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}\n"
        "    (key,) = session.get_objects(kind)\n"
        "    flags = (pkcs11.Attribute.SENSITIVE, pkcs11.Attribute.EXTRACTABLE,\n"
        "             pkcs11.Attribute.NEVER_EXTRACTABLE, pkcs11.Attribute.LOCAL,\n"
        "             pkcs11.Attribute.SIGN, pkcs11.Attribute.DERIVE)\n"
        "    print([key[flag] for flag in flags])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[True, False, True, True, True, False]"


async def test_many_at_once_each_get_their_own_signature(ca):
    key = ca.certificates().issuer.public_key()
    texts = [os.urandom(32) for _ in range(500)]
    signatures = await asyncio.gather(*(ca.sign_tbs(text) for text in texts))
    for text, signature in zip(texts, signatures, strict=True):
        key.verify(signature, text, ECDSA(SHA256()))


async def test_who_goes_away_takes_nothing_from_the_others(ca):
    await ca.health()
    asking = [asyncio.create_task(ca.sign_tbs(bytes([number]))) for number in range(100)]
    await asyncio.sleep(0)
    for task in asking[::2]:
        task.cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, bytes) for one in found[1::2])
    assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
    assert ca._signer._sessions[0]._process.waiting == 0


async def test_a_signer_that_is_killed_is_not_missed(ca, started):
    for _ in range(5):
        await ca.sign_tbs(b"x")
        asking = [asyncio.create_task(ca.sign_tbs(os.urandom(9))) for _ in range(50)]
        started[-1].kill()
        assert all(await asyncio.gather(*asking))
    assert len(started) == 6


async def test_a_token_that_is_away_is_refused_at_once_and_back_by_itself(token, ca, started):
    assert (await ca.health()).ok
    shutil.move(token.objects, token.folder / "away")
    token.objects.mkdir()
    started[
        -1
    ].kill()  # the module keeps a session of a token that is gone: pull it, it is restarted
    error = await refusal(ca)
    assert error.rule == "ca.token"
    assert error.retry_after >= 1
    assert "no token token=ca is there (tokens that are: none)" in error.hint
    assert "pkcs11" not in error.message
    count = len(started)
    for _ in range(20):
        await refusal(ca)
    assert len(started) <= count + 2, "while it pauses nothing is started"
    token.objects.rmdir()
    shutil.move(token.folder / "away", token.objects)

    async def back():
        return (await ca.health()).ok

    await until(back)


async def test_a_token_that_hangs_is_given_up_and_the_loop_goes_on(ca, started):
    await ca.sign_tbs(b"x")
    hangs = started[-1]
    hangs.send_signal(signal.SIGSTOP)
    asking = asyncio.create_task(refusal(ca))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.02)
        turns += 1
    assert "gave no signature within 3 s" in asking.result().hint
    assert turns > 50
    assert await asyncio.wait_for(hangs.wait(), 20) == -signal.SIGKILL

    async def back():
        return (await ca.health()).ok

    await until(back)


async def test_a_pin_that_was_refused_is_never_sent_again(token, ca, started):
    token.pin.write_text("87654321\n")
    first = await ca.health()
    assert not first.ok
    assert "refused the PIN" in first.detail
    assert "it is not tried again until it is another" in first.detail
    until_then = time.monotonic() + 1.5
    while time.monotonic() < until_then:
        assert "refused the PIN" in (await ca.health()).detail
        await asyncio.sleep(0.05)
    assert len(started) == 1
    token.pin.write_text(PIN + "\n")

    async def back():
        return (await ca.health()).ok

    await until(back)


async def test_the_pin_is_in_no_argument_and_in_no_environment(token, started, monkeypatch):
    make_root_in(token, "EC-P256")
    monkeypatch.setenv("TOKEN_PIN", PIN)
    authority = token.open(pin="env:TOKEN_PIN")
    try:
        assert (await authority.health()).ok
        for shown in shown_of(started[-1].pid):
            assert b"softhsm" in shown.lower() or b"pkcs11_process" in shown
            assert PIN.encode() not in shown
            assert b"TOKEN_PIN" not in shown
        assert PIN not in repr(authority._signer._sessions[0]._login.opening())
    finally:
        await authority.close()


def shown_of(pid):
    """Return what others can read of a process."""
    return [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]


WRONG = {
    "module": (
        {"key": "pkcs11:token=ca;object=issuing?module-path=/nowhere.so"},
        "can't be loaded",
    ),
    "token": ({"token": "other"}, "no token token=other is there (tokens that are: 'ca')"),
    "serial": ({"serial": "1"}, "no token token=ca;serial=1 is there"),
    "key": ({"object": "other"}, "has no private key object=other"),
    "id": ({"id": "%01"}, "has no private key object=issuing;id=01"),
    "pin-missing": ({"pin": "file:nowhere"}, "its PIN can't be read"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_named_with_what_to_do(token, name):
    make_root_in(token, "EC-P256")
    change, expected = WRONG[name]
    others = change if {"key", "pin"} & set(change) else {"key": token.uri(**change)}
    authority = token.open(**others)
    try:
        health = await authority.health()
    finally:
        await authority.close()
    assert not health.ok
    assert expected in health.detail
    assert "; " in health.detail


async def test_two_keys_of_one_name_are_refused(token):
    make_root_in(token, "EC-P256")
    pem = token.folder / "another.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-out", pem], check=True, capture_output=True,
    )  # fmt: skip
    softhsm(token, "--import", str(pem), "--token", "ca", "--label", "issuing", "--id", "AB",
            "--pin", PIN)  # fmt: skip
    authority = token.open()
    by_id = token.open(key=token.uri(id="%AB"))
    try:
        assert "2 private keys object=issuing; add id=" in (await authority.health()).detail
        detail = (await by_id.health()).detail
    finally:
        await authority.close()
        await by_id.close()
    assert "its key and its certificate don't belong together" in detail


async def test_a_signature_by_another_key_is_never_handed_out(token, ca):
    other = new_token(token.folder, "other")
    make_root_in(other, "EC-P256")
    authority = token.open(certificate="ca.pem")  # the other token's root now
    try:
        error = await refusal(authority)
    finally:
        await authority.close()
    assert error.rule == "ca.signature"
    assert "don't belong together" in error.hint


async def test_a_label_that_is_taken_makes_no_second_key(token):
    make_root_in(token, "EC-P256")
    with pytest.raises(BackendUnavailable, match=r"has an object 'issuing' already"):
        make_root_in(token, "EC-P256")


def test_the_signer_dies_with_its_server_whatever_it_does(token):
    make_root_in(token, "EC-P256")
    script = (
        "import asyncio, os, signal, sys\n"
        "sys.path[:0] = ['tests']\n"
        "from pathlib import Path\n"
        "from pkcs11_tokens import Token\n"
        "async def main():\n"
        f"    ca = Token(Path({str(token.folder)!r})).open()\n"
        "    await ca.health()\n"
        "    pid = ca._signer._sessions[0]._process._process.pid\n"
        "    os.kill(pid, signal.SIGSTOP)\n"  # as if the module hung
        "    print(pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, text=True, check=False, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    pid = int(done.stdout)
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in state(pid):
        assert time.monotonic() < end, "it is still there"
        time.sleep(0.02)


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
