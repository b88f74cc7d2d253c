"""A CA backend of somebody else, in a package that this repository does not know."""

from __future__ import annotations

MODULE = """
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from est_server.testing.issuer import FakeIssuer
from est_server.testing.scripted import ScriptedAuthority, capabilities


class AcmeSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    records: str = Field(description="folder of the CA")


class AcmeAuthority(ScriptedAuthority):
    def __init__(self, folder):
        super().__init__(folder, "looks-up")
        self.folder = folder

    def certificates(self):  # as its folder has them now
        return FakeIssuer.in_folder(self.folder).certificates()


class AcmeBackend:
    settings_model = AcmeSettings

    def capabilities(self, settings):
        return capabilities("looks-up")

    def open(self, settings, context):
        return AcmeAuthority(context.base / settings.records)
"""
METADATA = "Metadata-Version: 2.1\nName: acme-ca\nVersion: 1.0\n"
ENTRY_POINTS = "[est_server.backends]\nacme = acme_ca:AcmeBackend\n"


def install(site):
    """Put the package where an installer would: a module, and what it says about itself."""
    (site / "acme_ca.py").write_text(MODULE)
    info = site / "acme_ca-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
