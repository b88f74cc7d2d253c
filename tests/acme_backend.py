"""The ACME backend, opened on the files of a folder."""

from __future__ import annotations

from fake_acme import MAC_KEY

from backends.acme_upstream import AcmeUpstreamBackend, AcmeUpstreamSettings
from est_server.pki.authority import plain_key
from est_server.pki.keys import generate_key
from est_server.ports.ca import BackendContext

USAGES = {
    "key_usage": ["digitalSignature", "keyEncipherment"],
    "extended_key_usage": ["serverAuth", "clientAuth"],
}


def opened(folder, clock, directory, **settings):
    """Open the backend on files of a folder: ``acme.key``, ``eab``, and what `settings` name."""
    if not (folder / "acme.key").exists():
        (folder / "acme.key").write_bytes(plain_key(generate_key("EC-P256")))
        (folder / "eab").write_text(MAC_KEY)
        for secret in ("acme.key", "eab"):
            (folder / secret).chmod(0o600)
    settings = AcmeUpstreamSettings.model_validate(
        {
            "directory": directory,
            "trust": ["root.pem"],
            "account_key": "file:acme.key",
            "external_account": {"key_id": "kid-1", "mac_key": "file:eab"},
            "terms_of_service_agreed": True,
            "learned": "learned.pem",
            **USAGES,
            **settings,
        }
    )
    return AcmeUpstreamBackend().open(settings, BackendContext("ca", folder, clock))
