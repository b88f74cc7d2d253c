"""Workers on the same sockets: whatever happens to one of them, nobody's request is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest
from device_world import authorization, csr
from est_process import COMMAND, REPOSITORY
from workers_site import clients, on_any_port, supervised, until


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two workers on ports that were taken at the start."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "code").mkdir()
    server = on_any_port(folder / "server", "--interop")
    with supervised(server, PYTHONPATH=str(folder / "code")) as found:
        yield found


@pytest.fixture(scope="module")
def login(site):
    return site.server.credential("fleet", "interop")


def test_all_workers_are_nodes_that_commands_find(site):
    found = site.server.json("config", "reload")
    assert {one["pid"] for one in found} == set(site.workers())
    assert [one["error"] for one in found] == [None, None]


async def test_a_reload_loses_nothing(site, login):
    before = len(site.events("config.reloaded"))
    async with clients(site, login) as seen:
        site.signal(signal.SIGHUP)
        await asyncio.to_thread(
            until, "reloads", lambda: len(site.events("config.reloaded")) >= before + 2
        )
    assert (seen.broken, seen.refused) == ([], [])


async def test_a_worker_that_is_told_to_stop_is_replaced_and_loses_nothing(site, login):
    async with clients(site, login) as seen:
        first, second = site.workers()
        os.kill(first, signal.SIGTERM)
        await asyncio.to_thread(
            until, "another", lambda: len(now := site.workers()) == 2 and first not in now
        )
        assert second in site.workers()
    assert (seen.broken, seen.refused) == ([], [])


async def test_a_worker_that_is_killed_loses_no_certificate(site, login):
    async with clients(site, login, 4) as seen:
        first, _ = site.workers()
        os.kill(first, signal.SIGKILL)
        await seen.more(20)
        await asyncio.to_thread(
            until, "another", lambda: len(now := site.workers()) == 2 and first not in now
        )
    assert len(seen.broken) <= 4, "what it had accepted, and nothing beside"
    assert seen.refused == []


async def test_an_upgrade_runs_the_code_on_disk_and_loses_nothing(site, login, tmp_path_factory):
    code = next(tmp_path_factory.getbasetemp().glob("workers*/code"))
    old = site.workers()
    (code / "sitecustomize.py").write_text(
        "import os, sys; print('new code', os.getpid(), file=sys.stderr)"
    )
    async with clients(site, login) as seen:
        supervised_before = len(site.events("workers.supervised"))
        site.signal(signal.SIGUSR2)
        new = await asyncio.to_thread(site.other_workers, old)
        await asyncio.to_thread(
            until,
            "the next supervisor",
            lambda: len(site.events("workers.supervised")) > supervised_before,
        )
    assert (seen.broken, seen.refused) == ([], [])
    told = site.log.read_text()
    for pid in (*new, site.process.pid):
        assert f"new code {pid}\n" in told, "the workers, and this supervisor in the same process"
    async with clients(site, login) as seen:  # the next supervisor does all that the first did
        os.kill(new[0], signal.SIGKILL)
        await asyncio.to_thread(
            until, "another", lambda: len(now := site.workers()) == 2 and new[0] not in now
        )
    assert seen.refused == []


async def test_an_upgrade_that_cannot_start_changes_nothing(site, login):
    before, text = site.workers(), site.server.config.read_text()
    site.server.config.write_text(text + "nonsense: 1\n")
    try:
        async with clients(site, login) as seen:
            site.signal(signal.SIGUSR2)
            await asyncio.to_thread(until, "its end", lambda: site.events("upgrade.failed"))
            assert site.workers() == before
        assert (seen.broken, seen.refused) == ([], [])
        assert "nonsense" in site.log.read_text()
    finally:
        site.server.config.write_text(text)


def test_one_scrape_tells_of_all_workers(site, login):
    def enrolled():
        trust = ssl.create_default_context(cafile=site.server.root)
        with urllib.request.urlopen(f"https://{site.server.admin}/metrics", context=trust) as got:
            lines = got.read().decode().splitlines()
        found = [line for line in lines if line.startswith("est_server_enrollments_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found), lines

    async def enroll():
        async with clients(site, login) as seen:
            await seen.more(30)
        return seen.enrolled

    before, _ = enrolled()
    done = asyncio.run(enroll())
    assert {enrolled()[0] for _ in range(6)} == {before + done}, "whichever worker answers"
    reload = [line for line in enrolled()[1] if line.startswith("est_server_config_reload_success")]
    assert reload == ["est_server_config_reload_success 1.0"], "without a line for each process"


def test_a_worker_that_dies_again_and_again_waits_longer_each_time(site):
    before = len(site.events("worker.ended"))
    for _ in range(3):
        pid = max(site.workers())
        os.kill(pid, signal.SIGKILL)
        until("another", lambda dead=pid: len(now := site.workers()) == 2 and dead not in now)
    pauses = [event["again_in"] for event in site.events("worker.ended")[before:]]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 2 * pauses[0]


# -- starts and stops ------------------------------------------------------------------------------


def test_a_mistake_in_the_configuration_ends_the_start(tmp_path):
    server = on_any_port(tmp_path / "server", "--interop")
    server.config.write_text(server.config.read_text() + "nonsense: 1\n")
    command = [*COMMAND, "serve", "-c", str(server.config), "--workers", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("error[E") == 1
    assert "nonsense" in done.stderr


def test_what_keeps_a_worker_from_starting_ends_the_start(tmp_path):
    server = on_any_port(tmp_path / "server", "--interop")
    (server.directory / "state" / "ledger.db").unlink()
    command = [*COMMAND, "serve", "-c", str(server.config), "--workers", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("error: ledger.schema") == 1, "once, not by each"


def _trust(server):
    trust = ssl.create_default_context(cafile=server.root)
    trust.check_hostname = False
    return trust


def _connect(server):
    host, port = server.est.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def test_a_stop_answers_what_has_begun(tmp_path):
    server = on_any_port(tmp_path / "server", "--interop")
    with supervised(server) as site:
        login = site.server.credential("one", "interop")
        basic = authorization(login)["Authorization"]
        body = csr("half")
        head = (
            "POST /.well-known/est/interop/simpleenroll HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {basic}\r\nContent-Type: application/pkcs10\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        trust = _trust(site.server)
        half = trust.wrap_socket(_connect(site.server))
        half.sendall(head + body[:20])
        quiet = _connect(site.server)  # accepted, and no word was said
        idle = trust.wrap_socket(_connect(site.server))
        get = b"GET /.well-known/est/interop/cacerts HTTP/1.1\r\nHost: localhost\r\n\r\n"
        idle.sendall(get)
        assert idle.recv(16).startswith(b"HTTP/1.1 200")
        asked = _connect(site.server)
        tls = trust.wrap_socket(asked)
        tls.sendall(get[:20])
        site.signal(signal.SIGTERM)
        until("the end's beginning", lambda: len(site.events("server.draining")) == 2)
        with pytest.raises(ConnectionRefusedError):
            until("nobody listens", lambda: _connect(site.server).close())
        with half, idle, tls:
            while idle.recv(65536):
                pass  # until it is closed: it was idle
            half.sendall(body[20:])
            answer = half.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert b"connection: close" in answer.lower()
            tls.sendall(get[20:])
            assert tls.recv(65536).startswith(b"HTTP/1.1 200")
            with trust.wrap_socket(quiet) as spoken:
                spoken.sendall(get)
                assert spoken.recv(65536).startswith(b"HTTP/1.1 200")
        assert site.process.wait(30) == 0
        assert not site.events("listeners.cut-off")


def test_workers_end_with_their_supervisor(tmp_path):
    server = on_any_port(tmp_path / "server", "--interop")
    with supervised(server) as site:
        workers = site.workers()
        site.process.kill()
        site.process.wait()
        for pid in workers:
            until(f"the end of {pid}", lambda pid=pid: not Path(f"/proc/{pid}").exists())
        assert len(site.events("server.stopped")) == 2
