"""`est-server follow` and real gateways: a revoked device is refused, a released one is not."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from device_world import csr, issued, post, session
from gateway_site import (
    arguments,
    device,
    follow_once,
    following,
    haproxy,
    nginx,
    prepare,
    until,
)

GATEWAYS = {"nginx": nginx, "haproxy": haproxy}


@pytest.fixture(scope="module")
def server(new_server, serve, tmp_path_factory):
    made = new_server(tmp_path_factory.mktemp("gateway") / "server", "--interop")
    prepare(made)
    with serve(made) as running:
        yield running


@pytest.fixture(scope="module")
def enroll(server):
    login = server.credential("fleet", "interop")

    async def enrolled(name):
        key = ec.generate_private_key(ec.SECP256R1())
        async with session(server, login) as client:
            status, body, _ = await post(client, server, csr(name, key))
        assert status == 200, body
        return device(server, issued(body), key)

    return lambda name: asyncio.run(enrolled(name))


def entries(path):
    """Return the serial numbers in each list of a PEM file."""
    pems = re.findall(rb"-----BEGIN X509 CRL.*?END X509 CRL-----\n", path.read_bytes(), re.DOTALL)
    return [{f"{one.serial_number:x}" for one in x509.load_pem_x509_crl(pem)} for pem in pems]


def metrics(server):
    unproven = ssl.create_default_context()
    unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"https://{server.admin}/metrics", context=unproven) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines
            if line.startswith("est_server_feed"))}  # fmt: skip


@pytest.fixture(scope="module", params=GATEWAYS)
def gateway(request, server, need, tmp_path_factory):
    """Run a gateway and a follower that reloads it."""
    need(request.param, f"/usr/sbin/{request.param}")
    folder = tmp_path_factory.mktemp(request.param)
    crl = folder / "clients.crl"
    done = follow_once(arguments(server, crl))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "quiet in a pipe"
    assert len(entries(crl)) == 2
    with GATEWAYS[request.param](server, folder / "gateway", crl) as running:
        options = arguments(server, crl, "--exec", running.reload, "-o", "json")
        with following(options, folder / "follow.log") as follow:
            running.follow, running.crl = follow, crl
            yield running


def test_a_revoked_device_is_refused_and_a_released_one_passes_again(gateway, server, enroll):
    name = gateway.directory.parent.name
    good, stolen, lost = (enroll(f"{name}-{what}") for what in ("good", "stolen", "lost"))
    for one in (good, stolen, lost):
        assert one.passes(gateway.address)
    server.run("cert", "revoke", stolen.serial, "--reason", "keyCompromise")
    took = until(lambda: not stolen.passes(gateway.address), "refused")
    print(f"\n{name}: refused {took:.2f} s after the command")
    server.run("cert", "revoke", lost.serial, "--reason", "certificateHold")
    until(lambda: not lost.passes(gateway.address), "refused while on hold")
    server.run("cert", "release", lost.serial)
    took = until(lambda: lost.passes(gateway.address), "passes again")
    print(f"{name}: let in again {took:.2f} s after the command")
    assert good.passes(gateway.address)
    assert not stolen.passes(gateway.address)
    told = [json.loads(line) for line in gateway.follow.said().splitlines()]
    assert len(told) >= 3
    assert {one["ca"] for one in told[-1]["lists"]} == {"issuing", "root"}
    figures = metrics(server)
    assert figures["est_server_feed_streams"] >= 1
    assert figures["est_server_feed_events_total"] >= 3


# -- without a gateway: what follow says, and how it ends ------------------------------------------


def test_it_goes_on_where_it_was_when_the_server_comes_back(new_server, serve, tmp_path):
    made = new_server(tmp_path / "server", "--interop")
    prepare(made)
    crl = tmp_path / "f.crl"
    with following(arguments(made, crl), tmp_path / "log") as follow:
        until(lambda: "remote.unreachable" in follow.said(), "told")
        with serve(made):
            login = made.credential("fleet", "interop")

            async def enrolled():
                async with session(made, login) as client:
                    _, body, _ = await post(client, made, csr("away"))
                    return f"{issued(body).serial_number:x}"

            serial = asyncio.run(enrolled())
            until(lambda: crl.exists() and entries(crl) == [set(), set()], "both lists")
        made.run("cert", "revoke", serial)
        with serve(made):
            until(lambda: entries(crl)[0] == {serial}, "listed")
        assert follow.said().count("works again") >= 1


@pytest.fixture
def interop(interop_server):
    """Return how to follow a server whose complete lists come at intervals."""
    ca = interop_server.directory / "ca" / "issuing.pem"

    def options(target, *more, url=None, name="issuing", pem=ca):
        where = url or f"http://{interop_server.public}"
        known = ("--url", where, "--ca", f"{name}={pem}", "--crl-file", str(target))
        return ["follow", *known, *more]

    return options


def test_complete_lists_that_come_hours_later_are_refused(interop, tmp_path):
    crl = tmp_path / "f.crl"
    done = follow_once(interop(crl))
    assert done.returncode == 1
    assert (
        "error: follow.deltas: a revocation by issuing is in its delta CRL at once" in done.stderr
    )
    assert "hint: set cas.issuing.crl.complete to revocation" in done.stderr
    assert not crl.exists()


def test_with_deltas_both_lists_are_kept(interop, interop_server, tmp_path):
    login = interop_server.credential("follow-deltas", "interop")

    async def enrolled():
        async with session(interop_server, login) as client:
            _, body, _ = await post(client, interop_server, csr("delta"))
            return f"{issued(body).serial_number:x}"

    serial, crl = asyncio.run(enrolled()), tmp_path / "f.crl"
    with following(interop(crl, "--deltas"), tmp_path / "log"):
        until(crl.exists, "written")
        interop_server.run("cert", "revoke", serial)
        until(lambda: serial in entries(crl)[1], "in the delta")
        assert serial not in entries(crl)[0]


@pytest.mark.parametrize(
    ("more", "how", "code", "said"),
    [
        ((), {"url": "http://127.0.0.1:9"}, 4, "remote.unreachable"),
        ((), {"url": "ftp://x"}, 1, "follow.url"),
        ((), {"name": "nobody"}, 1, "its CAs: issuing"),
        ((), {"pem": "/dev/null"}, 1, "follow.certificate"),
        ((), {"pem": "/nowhere"}, 1, "/nowhere: No such file"),
        (("--format", "der", "--deltas"), {}, 2, "DER holds one list"),
        (("--ca", "x"), {}, 2, "'x' is not a new name=value"),
    ],
)
def test_exit_codes(interop, tmp_path, more, how, code, said):
    done = follow_once(interop(tmp_path / "f.crl", *more, **how))
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())


def test_another_cas_certificate_verifies_nothing(server, tmp_path):
    ca, crl = server.directory / "ca", tmp_path / "f.crl"
    done = follow_once([
        "follow", "--url", f"http://{server.public}", "--ca", f"issuing={ca / 'root.pem'}",
        "--crl-file", str(crl), "-o", "json",
    ])  # fmt: skip
    assert (done.returncode, json.loads(done.stderr)["error"]) == (1, "follow.list")
    assert not crl.exists()


def test_der_is_one_list_and_a_file_has_one_keeper(server, tmp_path):
    ca, crl = server.directory / "ca" / "issuing.pem", tmp_path / "f.der"
    options = ["follow", "--url", f"http://{server.public}", "--ca", f"issuing={ca}",
               "--crl-file", str(crl), "--format", "der"]  # fmt: skip
    with following(options, tmp_path / "log"):
        until(crl.exists, "written")
        x509.load_der_x509_crl(crl.read_bytes())
        done = follow_once(options)
        assert done.returncode == 1
        assert "follow.taken" in done.stderr


def test_the_server_ends_at_once_with_a_stream_open(new_server, serve, tmp_path):
    made = new_server(tmp_path / "server", "--interop")
    with serve(made):
        host, _, port = made.public.rpartition(":")
        reader = socket.create_connection((host, int(port)), 20)
        reader.sendall(b"GET /revocations/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        octets = b""
        while b"id: 0" not in octets:
            octets += reader.recv(4096)
    with reader:
        while piece := reader.recv(4096):
            octets += piece
    assert octets.endswith(b"0\r\n\r\n"), "ended in an orderly way, not cut off by the grace's end"
