"""What `make run` prints: a device of its own, and a curl enrollment that works when pasted."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

from cryptography import x509

from est_server.pki.authority import fingerprint


def main() -> None:
    directory, command = Path(sys.argv[1]), sys.argv[2]
    device = f"DEMO-{secrets.token_hex(3).upper()}"
    arguments = ["device", "add", device, "--profile", "device", "--otp", "-o", "json"]
    done = subprocess.run(
        [command, *arguments, "-c", f"{directory}/server.yaml"],
        check=True,
        capture_output=True,
        text=True,
    )
    password = json.loads(done.stdout)["password"]
    root = directory / "ca" / "root.pem"
    print(
        f"""
EST               https://localhost:8443/.well-known/est
root fingerprint  {fingerprint(x509.load_pem_x509_certificate(root.read_bytes()))}

Enroll {device} from another terminal, in this folder:

  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={device} \\
      -keyout var/device.key -outform DER | openssl base64 > var/device.b64
  curl --cacert {root} -u {device}:{password} -H 'Content-Type: application/pkcs10' \\
      --data-binary @var/device.b64 https://localhost:8443/.well-known/est/simpleenroll \\
      | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -out var/device.pem
  openssl verify -CAfile {root} -untrusted {directory}/ca/issuing.pem var/device.pem
  {command} why {device} -c {directory}/server.yaml
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
