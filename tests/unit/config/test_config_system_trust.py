"""The system's trust anchors (RFC 7030 3.1: implicit)."""

from __future__ import annotations

from config_world import certificates, codes

from est_server.config.system_trust import system_trust_store


def test_the_systems_anchors_are_implicit(folder, monkeypatch):
    folder.write("system.pem", certificates()["root"])
    monkeypatch.setenv("SSL_CERT_FILE", str(folder.folder / "system.pem"))
    folder.change("server.yaml", "trust/acme.pem", "system")
    store = folder.load().trust["acme"]
    assert (store.kind, len(store.anchors)) == ("implicit", 1)
    assert store.name == "acme"


def test_a_file_has_explicit_anchors_whatever_it_is_called(folder):
    folder.write("system", certificates()["root"])
    folder.change("server.yaml", "trust/acme.pem", "./system")
    assert folder.load().trust["acme"].kind == "explicit"


def test_a_system_without_anchors_is_a_problem(folder, monkeypatch):
    monkeypatch.setattr("est_server.config.system_trust.trust_list.get_list", lambda **_: _none())
    folder.change("server.yaml", "trust/acme.pem", "system")
    assert codes(folder.problems()) == ["E109"]


def test_what_the_system_rejects_for_clients_is_left_out(monkeypatch):
    monkeypatch.setattr(
        "est_server.config.system_trust.trust_list.get_list",
        lambda **_: [(None, set(), {"1.3.6.1.5.5.7.3.2"})],
    )
    assert system_trust_store("x").anchors == ()


def _none():
    raise OSError("there is no bundle")
