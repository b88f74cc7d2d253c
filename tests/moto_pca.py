"""moto's AWS Private CA over HTTP: another party's idea of the protocol, driven by the real SDK.

It signs for real and ignores most of what it is asked for (always RSA-2048 and SHA-512, a year from
now, two templates, no idempotency): what it shows is request signing, endpoints, encodings and
names. `fake_aws_pca` shows what the documentation says of the rest.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import botocore.session
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from moto.acmpca.models import acmpca_backends
from moto.server import ThreadedMotoServer

from est_server.pki.authority import authority_key_identifier, ca_rights, signature_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.pki.authority import Authority

REGION = "eu-west-1"
ACCOUNT = "123456789012"
SIGNS = "SHA512WITHRSA"
END_ENTITY = "arn:aws:acm-pca:::template/EndEntityCertificate/V1"
"""The one template without passthrough that moto knows: digitalSignature and keyEncipherment,
serverAuth and clientAuth, names from the CSR."""
ROOT = "arn:aws:acm-pca:::template/RootCACertificate/V1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class MotoPca:
    """A server on loopback; what it keeps outlives `stop` and `start`."""

    port: int = 0
    _server: ThreadedMotoServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server._server.server_close()
            self._server = None

    def new_ca(self, name: str, under: Authority | None = None) -> str:
        """Make a CA as an administrator does, and return its ARN.

        Args:
            name: its common name.
            under: who certifies it; a root of its own by default, which moto lets end in a year, so
                that everything it issues outlives it.
        """
        client = self._client()
        subject = {"CommonName": name, "Organization": "Example"}
        arn: str = client.create_certificate_authority(
            CertificateAuthorityType="ROOT" if under is None else "SUBORDINATE",
            CertificateAuthorityConfiguration={
                "KeyAlgorithm": "RSA_2048",
                "SigningAlgorithm": SIGNS,
                "Subject": subject,
            },
        )["CertificateAuthorityArn"]
        csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode()
        if under is None:
            root = client.issue_certificate(
                CertificateAuthorityArn=arn,
                Csr=csr,
                SigningAlgorithm=SIGNS,
                TemplateArn=ROOT,
                Validity={"Type": "YEARS", "Value": 10},
            )["CertificateArn"]
            found = client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=root)
            made = {"Certificate": found["Certificate"].encode()}
        else:
            made = {
                "Certificate": _pem(certified(csr, under)),
                "CertificateChain": _pem(under.certificate),
            }
        client.import_certificate_authority_certificate(CertificateAuthorityArn=arn, **made)
        return arn

    def records(self, arn: str) -> Any:
        """Return what moto itself keeps of a CA."""
        return acmpca_backends[ACCOUNT][REGION].certificate_authorities[arn]

    def _client(self) -> Any:
        return botocore.session.get_session().create_client(
            "acm-pca",
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


def certified(pem: bytes, root: Authority) -> x509.Certificate:
    """Return the certificate of a CA that asks for it, as long as `root` lives."""
    csr = x509.load_pem_x509_csr(pem)
    key: Any = csr.public_key()
    issuer = root.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority_key_identifier(issuer), critical=False)
    )
    for extension, critical in ca_rights(path_length=0):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(root.key, signature_hash(root.key))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


@contextmanager
def running() -> Iterator[MotoPca]:
    """Serve until the block ends."""
    made = MotoPca()
    made.start()
    try:
        yield made
    finally:
        made.stop()
