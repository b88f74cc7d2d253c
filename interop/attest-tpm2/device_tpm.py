"""A TPM as a device uses it: its keys, and what it says about them, through tpm2-tools.

Each call starts a program, which is slow and easy to read: a device maker does the same with the
ESAPI of tpm2-tss. Keys become persistent, because a TPM without a resource manager has three slots
for transient ones. Tested with tpm2-tools 5.4.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

RSA_EK = 0x81010001  # TCG Provisioning Guidance 7.8: where a manufacturer leaves the EK
ECC_EK = 0x81010016
EK_CERTIFICATES = {RSA_EK: 0x01C00002, ECC_EK: 0x01C00016}  # NV indices, EK Credential Profile 2.2
_SIGNING = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"


@dataclass(frozen=True, slots=True)
class Key:
    """A persistent key.

    Attributes:
        handle: where it is.
        public: its TPMT_PUBLIC.
        creation_hash: path of what `Tpm.certify_creation` needs; None for a primary key.
        creation_ticket: likewise.
    """

    handle: int
    public: bytes
    creation_hash: Path | None = None
    creation_ticket: Path | None = None


@dataclass(slots=True)
class Tpm:
    """One TPM.

    Attributes:
        tcti: how to reach it, for example ``device:/dev/tpmrm0`` or ``swtpm:path=…``.
        folder: for the files that the tools exchange.
    """

    tcti: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="tpm-")))
    _made: int = 0

    def tool(self, name: str, *arguments: object, stdin: bytes | None = None) -> bytes:
        """Run one of tpm2-tools and return what it prints."""
        done = subprocess.run(
            [f"tpm2_{name}", *map(str, arguments)],
            env={**os.environ, "TPM2TOOLS_TCTI": self.tcti, "TSS2_LOG": "all+NONE"},
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"tpm2_{name}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def file(self, content: bytes | None = None) -> Path:
        """Return a new file."""
        self._made += 1
        path = self.folder / f"{self._made:04}"
        if content is not None:
            path.write_bytes(content)
        return path

    # -- keys

    def endorsement_certificate(self, endorsement: int) -> bytes:
        """Return what the manufacturer left beside an EK: DER, maybe with octets behind it."""
        return self.tool("nvread", "-C", "o", f"0x{EK_CERTIFICATES[endorsement]:08x}")

    def primary(
        self,
        algorithm: str,
        attributes: str | None = None,
        hierarchy: str = "e",
    ) -> Key:
        """Create a primary key: the same one each time, by the TPM's own seed."""
        context = self.file()
        asked = ("-a", attributes) if attributes else ()
        self.tool(
            *("createprimary", "-Q", "-C", hierarchy, "-g", "sha256", "-G", algorithm, *asked),
            *("-c", context),
        )
        return self._persist(context)

    def attestation_key(self, algorithm: str = "ecc256:ecdsa-sha256:null") -> Key:
        """Create an AK: restricted, so that it signs what the TPM made and nothing else."""
        return self.primary(algorithm, f"{_SIGNING}|restricted")

    def storage_key(self) -> Key:
        """Create the parent of other keys."""
        return self.primary("ecc256:null:aes128cfb", hierarchy="o")

    def key(
        self, parent: Key, algorithm: str = "ecc256:null:null", attributes: str = _SIGNING
    ) -> Key:
        """Create a key that can't leave this TPM."""
        public, private, context, digest, ticket = (self.file() for _ in range(5))
        self.tool(
            *("create", "-Q", "-C", f"0x{parent.handle:08x}", "-g", "sha256", "-G", algorithm),
            *("-a", attributes, "-u", public, "-r", private, "-d", digest, "-t", ticket),
        )
        return self.load(parent, public, private, context, digest, ticket)

    def load(
        self,
        parent: Key,
        public: Path,
        private: Path,
        context: Path,
        digest: Path | None = None,
        ticket: Path | None = None,
    ) -> Key:
        """Load a key that its parent protects."""
        handle = f"0x{parent.handle:08x}"
        self.tool("load", "-Q", "-C", handle, "-u", public, "-r", private, "-c", context)
        return self._persist(context, digest, ticket)

    def _persist(
        self, context: Path, digest: Path | None = None, ticket: Path | None = None
    ) -> Key:
        # without a handle the tool takes the first that is free, and says which
        said = self.tool("evictcontrol", "-C", "o", "-c", context).decode()
        handle = int(said.partition("persistent-handle: ")[2].split()[0], 16)
        self.tool("flushcontext", "-t")
        return Key(handle, self.public(handle), digest, ticket)

    def public(self, handle: int) -> bytes:
        """Return the TPMT_PUBLIC of a persistent key."""
        found = self.file()
        self.tool("readpublic", "-Q", "-c", f"0x{handle:08x}", "-f", "tss", "-o", found)
        return found.read_bytes()[2:]

    # -- what a key or the TPM says

    def sign(self, key: Key, digest: bytes, scheme: str = "ecdsa") -> bytes:
        """Sign a SHA-256 digest: DER of ECDSA's r and s, or the RSA value."""
        signature = self.file()
        self.tool(
            *("sign", "-Q", "-c", f"0x{key.handle:08x}", "-g", "sha256", "-s", scheme, "-d"),
            *("-f", "plain", "-o", signature, self.file(digest)),
        )
        return signature.read_bytes()

    def activate(
        self, attestation: Key, endorsement: int, blob: bytes, encrypted_secret: bytes
    ) -> bytes:
        """Open a credential (TPM2_ActivateCredential): works where both keys live, nowhere else.

        The RSA EK of template L-1 wants PolicySecret of the endorsement hierarchy; the ECC EK of
        template H-3 wants its own empty password.
        """
        credential = self.file(b"\xba\xdc\xc0\xde\x00\x00\x00\x01" + blob + encrypted_secret)
        opened, session = self.file(), self.file()
        keys = ("-c", f"0x{attestation.handle:08x}", "-C", f"0x{endorsement:08x}")
        arguments = ("activatecredential", "-Q", *keys, "-i", credential, "-o", opened)
        if endorsement == ECC_EK:
            self.tool(*arguments)
            return opened.read_bytes()
        self.tool("startauthsession", "-Q", "--policy-session", "-S", session)
        try:
            self.tool("policysecret", "-Q", "-S", session, "-c", "e")
            self.tool(*arguments, "-P", f"session:{session}")
        finally:
            self.tool("flushcontext", session)
        return opened.read_bytes()

    def certify_creation(self, key: Key, attestation: Key, nonce: bytes) -> tuple[bytes, bytes]:
        """Return TPMS_ATTEST and TPMT_SIGNATURE: `key` was made in this TPM.

        tpm2_certify of tpm2-tools 5.4 takes no nonce, so it is of no use here.
        """
        said, signature = self.file(), self.file()
        self.tool(
            *("certifycreation", "-Q", "-C", f"0x{attestation.handle:08x}"),
            *("-c", f"0x{key.handle:08x}", "-d", key.creation_hash, "-t", key.creation_ticket),
            *("-g", "sha256", "-f", "tss", "-o", signature, "--attestation", said),
            *("-q", nonce.hex()),
        )
        return said.read_bytes(), signature.read_bytes()

    def quote(self, attestation: Key, nonce: bytes, pcrs: str) -> tuple[bytes, bytes]:
        """Return TPMS_ATTEST and TPMT_SIGNATURE over registers, for example ``sha256:0,7``."""
        said, signature = self.file(), self.file()
        self.tool(
            *("quote", "-Q", "-c", f"0x{attestation.handle:08x}", "-l", pcrs, "-q", nonce.hex()),
            *("-m", said, "-s", signature, "-f", "tss", "-g", "sha256"),
        )
        return said.read_bytes(), signature.read_bytes()

    def registers(self, pcrs: str) -> list[bytes]:
        """Return the values of registers of one SHA-256 bank, ascending."""
        values = self.file()
        self.tool("pcrread", "-Q", pcrs, "-o", values)
        content = values.read_bytes()
        return [content[at : at + 32] for at in range(0, len(content), 32)]

    def extend(self, register: int, digest: bytes) -> None:
        """Extend a register of the SHA-256 bank, as a changed boot stage does."""
        self.tool("pcrextend", f"{register}:sha256={digest.hex()}")
