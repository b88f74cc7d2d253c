"""How a decision reads, whether it is stored (`why`) or only asked for (`profile test`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from est_server.cli.output import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MARKS = {
    True: ("✓", typer.colors.GREEN),
    False: ("✗", typer.colors.RED),
    None: ("–", typer.colors.BRIGHT_BLACK),
}


def show_gates(gates: Sequence[Mapping[str, Any]]) -> None:
    """Print each gate: its mark, rule, detail and the line of the profile that decided.

    Args:
        gates: as in the trace: ``{"rule", "ok", "detail", "at"}``.
    """
    width = max((len(gate["rule"]) for gate in gates), default=0)
    for gate in gates:
        mark, colour = _MARKS[gate["ok"]]
        at = f"  [{text(gate['at'])}]" if gate["at"] else ""
        rule = text(gate["rule"]).ljust(width)
        typer.echo(f"  {typer.style(mark, fg=colour)} {rule}  {text(gate['detail'])}{at}")


def show_verdict(verdict: str, rule: str | None, message: str) -> None:
    """Print the verdict, and for a refusal its rule and message."""
    if verdict == "allow":
        typer.secho("allow", fg=typer.colors.GREEN)
    else:
        typer.secho(f"{verdict}  {text(rule)}: {text(message)}", fg=typer.colors.RED)


def show_plan(plan: Mapping[str, Any] | None) -> None:
    """Print the certificate that the decision leads to; empty fields are left out."""
    if plan is None:
        return
    typer.echo("certificate")
    for key, value in plan.items():
        if value:
            typer.echo(f"  {key.replace('_', ' ')}: {text(value)}")
