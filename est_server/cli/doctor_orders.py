"""What doctor says about CAs elsewhere: open orders, and revocations that have to reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.cli.patient import Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from est_server.cli.patient import Patient

_FEW_ORDERS = 20  # one finding each


async def check_orders(patient: Patient) -> AsyncIterator[Finding]:
    """Look at what CAs elsewhere were asked, and at revocations that have to reach them."""
    if patient.ledger is None:
        return
    ledger = patient.ledger
    open_orders = await ledger.pending.parked(limit=_FEW_ORDERS)
    for request, reason in open_orders:
        what = f"request {request.id} at CA {request.ca}"
        if request.state == "waiting":
            yield Finding("ok", f"{what} waits for the CA's decision")
            continue
        order = await ledger.orders.get(request.id)
        soon = order is not None and order.next_at is not None
        then = f"est-server request show {request.id} -c {patient.path}"
        refused = reason.startswith("issued.")
        yield Finding(
            "fail" if refused else "warn",
            f"{what}: {reason}" + ("; the server asks again by itself" if soon else ""),
            then,
        )
    if not open_orders:
        yield Finding("ok", "no request is open at a CA")
    last = await ledger.revocations.last_event()
    for name, authority in patient.cas.open.items():
        if not authority.capabilities.revokes:
            continue
        behind = (0 if last is None else last.sequence) - await ledger.upstream.position(name)
        if behind:
            then = "a running server carries them there; see ca.not-revoking in its log"
            yield Finding("warn", f"{name}: {behind} events were not carried there yet", then)
        else:
            yield Finding("ok", f"{name}: every revocation was carried there")
    for refusal in await ledger.upstream.refusals():
        text = f"{refusal.ca}: certificate {refusal.serial_number:x}: {refusal.reason}"
        yield Finding("fail", text, "revoke it there by hand")
