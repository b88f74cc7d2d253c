"""Enrollments with a TPM's evidence beside enrollments without, and what an appraisal costs.

Every connection is new and mutually authenticated, TLS 1.3, as in the bench `enroll`; both labels
have the same rules but for the appraisal policy: a key in the TPM (`tpm2-certify`, its EK through
two RSA-3072 CAs, a credential challenge) and four registers (`tpm2-quote`). "With its nonce" counts
the whole exchange: the nonce, the challenge and the enrollment on one connection.
"""

from __future__ import annotations

import re
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import fleet as devices
import tpm_fleet
import yaml
from clients import Traffic, running_clients
from measure import Figure, interleave, ratio
from peers import REPOSITORY, est_server, initialise
from report import Report
from verifier_targets import BUNDLE, appraised

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

_FLEET = 256  # more than the server keeps of devices, as in `bench_enroll`
_APPRAISALS = 500  # of a round
_PATH = "/.well-known/est/{}/simpleenroll"


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    fleet, trusted = devices.manufacture(scratch / "fleet", 2 * _FLEET)
    made_tpms = tpm_fleet.manufacture(scratch / "tpms", 2 * _FLEET)
    directory = initialise(
        scratch / "server",
        {"plain": _profile("plain"), "attested": _profile("attested", attestation="tpm")},
        {
            "trust": {"acme-routers": str(trusted), "tpms": str(made_tpms)},
            "attestation": {"most_nonces_per_client": "100000", "most_nonces": "200000"},
            "limits": {"nonces_per_address": "100000/1s"},
        },
    )
    (directory.path / "policies").mkdir(exist_ok=True)
    (directory.path / "policies" / "tpm.yaml").write_text(yaml.safe_dump(_policy()))
    context = partial(_context, fleet)
    # a device stays with the profile that it enrolled under
    plain, attested = (devices.Fleet(fleet.path, _FLEET, first) for first in (0, _FLEET))
    with (
        running_clients(options.clients, options.threads) as clients,
        est_server(directory) as ours,
    ):
        tpms = {"fleet": attested, "context": context, "tpms": scratch / "tpms"}
        path = _PATH.format("attested")
        without = partial(tpm_fleet.enroll, _PATH.format("plain"), fleet=plain, context=context)
        at_once = partial(tpm_fleet.attest_at_once, path, **tpms, address=ours.address)
        whole = partial(tpm_fleet.attest, path, **tpms)
        found = interleave(
            [
                clients.contender(what, ours.pid, Traffic(ours.address, make), options.operations)
                for what, make in (
                    ("without evidence", without),
                    ("with evidence, its nonce before", at_once),
                    ("with evidence, with its nonce", whole),
                )
            ],
            options.rounds,
        )
    bare, evidence, exchange = found
    return Report(
        "attestation",
        f"{options.rounds} rounds of {options.operations} enrollments on new connections, "
        f"{options.clients} client processes with {options.threads} connections each",
        tuple(found),
        (
            *ratio("with evidence / without", evidence, bare, 0.7),
            *ratio("with evidence and its nonce / without", exchange, bare),
            Figure(
                "an appraisal, ms of CPU",
                tuple(_appraisal() for _ in range(options.rounds)),
                2.0,
                "at most",
            ),
        ),
    )


def _appraisal() -> float:
    """Return the CPU of one appraisal, from the octets of a bundle that a TPM made, in ms."""
    before = time.thread_time()
    for _ in range(_APPRAISALS):
        assert appraised(BUNDLE).status == "affirming"
    return 1000 * (time.thread_time() - before) / _APPRAISALS


def _profile(label: str, **more: Any) -> str:
    """Return the shipped `router` profile for this label, which takes any name."""
    # a renewal window would refuse certificates that are seconds old
    text = re.sub(r"\n  window:.*", "", (REPOSITORY / "profiles/router.yaml").read_text())
    content = yaml.load(text, Loader=yaml.BaseLoader)
    content |= {"labels": [label], "subject": {"as_requested": "true"}}
    del content["subject_alternative_names"]
    if more:
        content["attestation"] = {"policy": more["attestation"]}
    return yaml.safe_dump(content)


def _policy() -> dict[str, Any]:
    pcrs = {index: [value.hex()] for index, value in tpm_fleet.VALUES.items()}
    rules = [
        {"name": "key", "verifier": "tpm2-certify", "trust": ["tpms"]},
        {"name": "boot", "verifier": "tpm2-quote", "trust": ["tpms"], "pcrs": pcrs},
    ]
    return {"version": 1, "rules": rules}


def _context(fleet: devices.Fleet, device: int) -> ssl.SSLContext:
    return devices.context(fleet, device, ssl.TLSVersion.TLSv1_3)
