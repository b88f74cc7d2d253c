"""The command: ``python -m interop.conformance https://host:port …``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509

from interop.conformance.connection import ConnectionFailed, Endpoint, Identity
from interop.conformance.report import as_json, as_junit, table
from interop.conformance.run import cases, run
from interop.conformance.target import Options, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop.conformance.connection import Version

_VERSIONS: dict[str, tuple[Version, ...]] = {
    "1.2": ("1.2",),
    "1.3": ("1.3",),
    "both": ("1.2", "1.3"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kit; return 0 if nothing failed, 1 if something did, 2 if it can't run."""
    parser = _parser()
    given = parser.parse_args(arguments)
    chosen = cases([*(given.only or "").replace(",", " ").split()])
    chosen = [one for one in chosen if given.level in {"all", one.level}]
    if given.list:
        for one in chosen:
            print(f"{one.number:>3}  {one.level:<7}  {one.clause:<18}  {one.title}")
        return 0
    if not chosen:
        parser.error("no case is left to run")
    with tempfile.TemporaryDirectory(prefix="est-conformance-") as folder:
        try:
            options = _options(given, Path(folder))
        except ValueError as error:
            parser.error(str(error))
        versions = _VERSIONS[given.tls]
        try:
            for version in versions:
                Target(options, version).get("cacerts")
        except ConnectionFailed as error:
            print(f"{given.url} can't be asked over TLS {version}: {error}", file=sys.stderr)
            return 2
        outcomes = list(run(options, versions, chosen))
    match given.output:
        case "json":
            print(as_json(outcomes))
        case "junit":
            print(as_junit(outcomes))
        case _:
            for line in table(outcomes, verbose=given.verbose):
                print(line)
    return 1 if any(found.state == "fail" for found in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m interop.conformance",
        description="Put the conformance cases to an EST server (RFC 7030, 8951, 9908).",
        epilog="Exit codes: 0 nothing failed, 1 something did, 2 the kit could not run.",
    )
    add = parser.add_argument
    add("url", nargs="?", default="", metavar="https://HOST:PORT", help="the server")
    add("--label", help="a CA label; requests go to it")
    add("--ca", type=Path, metavar="FILE", help="PEM of the explicit trust anchors")
    add("--insecure", action="store_true", help="believe whatever server answers")
    add("--user", metavar="U:P", help="HTTP Basic, valid for any number of enrollments")
    add("--cert", type=Path, metavar="FILE", help="PEM client certificate, its chain after it")
    add("--key", type=Path, metavar="FILE", help="PEM key of --cert")
    add("--subject", metavar="DN", help="subject to ask for (RFC 4514); default: a new CN each")
    add("--dns", metavar="NAME", help="a DNS name that may be asked for")
    add("--key-type", choices=("ec", "rsa"), default="ec", help="P-256, or RSA with 2048 bits")
    add("--tls", choices=tuple(_VERSIONS), default="both", help="default: both")
    add("--only", metavar="LIST", help="numbers or names of checks, with commas between")
    add("--level", choices=("must", "should", "interop", "all"), default="all")
    add("--patience", type=float, default=45.0, metavar="S", help="seconds for a slow body")
    add("--list", action="store_true", help="list the cases and run none")
    add("--verbose", "-v", action="store_true", help="show the octets of each failure")
    add("--output", "-o", choices=("table", "json", "junit"), default="table")
    return parser


def _options(given: argparse.Namespace, folder: Path) -> Options:
    """Return what the arguments say.

    Raises:
        ValueError: they don't fit together.
    """
    url = urlsplit(given.url)
    if url.scheme != "https" or not url.hostname or url.path.strip("/"):
        raise ValueError("the server is given as https://HOST:PORT")
    if (given.ca is None) != given.insecure:
        raise ValueError("exactly one of --ca and --insecure says whom to believe")
    if (given.cert is None) != (given.key is None):
        raise ValueError("--cert and --key go together")
    for file in (given.ca, given.cert, given.key):
        if file is not None and not file.is_file():
            raise ValueError(f"{file} is no file")
    user, colon, password = (given.user or "").partition(":")
    if given.user is not None and not colon:
        raise ValueError("--user is USER:PASSWORD")
    return Options(
        endpoint=Endpoint(url.hostname, url.port or 443, given.ca),
        folder=folder,
        label=given.label,
        user=(user, password) if given.user else None,
        identity=Identity(given.cert, given.key) if given.cert else None,
        subject=x509.Name.from_rfc4514_string(given.subject) if given.subject else None,
        dns=given.dns,
        key_type=given.key_type,
        patience=given.patience,
    )


if __name__ == "__main__":
    sys.exit(main())
