"""Several sessions of one token: what they win, and that they lose nothing."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from pkcs11_tokens import MODULE, make_root_in, new_token
from slow_sign import build_slow_sign
from test_pkcs11_contract import refusal, started, until

from est_server.errors import BackendUnavailable

__all__ = ["started"]


@pytest.fixture(scope="module")
def slow(tmp_path_factory, need):
    """A token that takes 20 ms for a signature."""
    need("softhsm2", MODULE, "softhsm2-util")
    need("gcc libc6-dev", "gcc")
    folder = tmp_path_factory.mktemp("slow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        patch.setenv("SLOW_SIGN_MODULE", MODULE)
        patch.setenv("SLOW_SIGN_US", "20000")
        token = replace(new_token(folder), module=str(build_slow_sign(folder)))
        make_root_in(token, "EC-P256")
        yield token


@pytest.fixture
async def opened(slow):
    """Return a function that opens a CA with so many sessions."""
    made = []

    def opened(sessions, **others):
        made.append(slow.open(sessions=sessions, **others))
        return made[-1]

    yield opened
    for authority in made:
        await authority.close()


async def sign(authority, count):
    """Have that many texts signed at once; return the seconds."""
    key = authority.certificates().issuer.public_key()
    texts = [os.urandom(8) for _ in range(count)]
    since = time.monotonic()
    signatures = await asyncio.gather(*(authority.sign_tbs(text) for text in texts))
    took = time.monotonic() - since
    for text, signature in zip(texts, signatures, strict=True):
        key.verify(signature, text, ECDSA(SHA256()))
    return took


async def all_open(authority, started, count):
    async def there():
        await sign(authority, 2 * count)
        return f"{count} of {count} sessions" in (await authority.health()).detail

    await until(there)
    assert len(started) == count


async def test_four_sign_more_than_one(opened, started):
    one, four = opened(1), opened(4)
    await sign(one, 1)
    started.clear()
    await all_open(four, started, 4)
    assert await sign(four, 40) < 0.6 * await sign(one, 40)


async def test_who_asks_one_after_the_other_needs_one_session(opened, started):
    authority = opened(4)
    for _ in range(5):
        await authority.sign_tbs(b"x")
    assert len(started) == 1
    assert "1 of 4 sessions" in (await authority.health()).detail


async def test_sessions_that_are_killed_are_not_missed(opened, started):
    authority = opened(3)
    await all_open(authority, started, 3)
    asking = asyncio.create_task(sign(authority, 30))
    await asyncio.sleep(0.03)
    started[0].kill()
    await asking
    asking = asyncio.create_task(sign(authority, 30))
    await asyncio.sleep(0.03)
    for process in started:
        if process.returncode is None:
            process.kill()
    await asking


async def test_a_wrong_pin_is_tried_once_however_many_sessions_there_are(slow, opened, started):
    wrong = slow.folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("87654321\n")
    authority = opened(8, pin=f"file:{wrong}")
    asking = (authority.sign_tbs(os.urandom(8)) for _ in range(50))
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in found} == {BackendUnavailable}
    assert len(started) == 1
    wrong.write_text(slow.pin.read_text())

    async def back():
        return (await authority.health()).ok

    await until(back)


async def test_a_pin_that_turns_wrong_is_tried_once_by_the_other_sessions(slow, opened, started):
    pin = slow.folder / "turns"
    pin.touch(mode=0o600)
    pin.write_text(slow.pin.read_text())
    authority = opened(4, pin=f"file:{pin}")
    await authority.sign_tbs(b"x")
    pin.write_text("87654321\n")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:  # the first session works, the others are wanted
        await sign(authority, 8)
    assert len(started) == 2
    assert "1 of 4 sessions" in (await authority.health()).detail
    started[0].kill()
    assert "refused the PIN" in (await refusal(authority)).hint
    assert len(started) == 2


async def test_a_token_that_is_away_is_looked_for_by_one_session(slow, opened, started):
    authority = opened(8)
    await all_open(authority, started, 8)
    away = slow.folder / "away"
    slow.objects.rename(away)
    slow.objects.mkdir()
    try:
        for process in started:
            process.kill()
        await asyncio.gather(*(refusal(authority) for _ in range(100)))
        count = len(started)
        assert count <= 8 + 2
        for _ in range(50):
            await refusal(authority)
        assert len(started) <= count + 2, "while it pauses nothing is started"
    finally:
        slow.objects.rmdir()
        away.rename(slow.objects)

    async def back():
        return (await authority.health()).ok

    await until(back)
