"""A CA of this server's own, and a book of what it made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta


class Counting:
    """The authority, with the certificates it made; its plan can be made one that it refuses."""

    def __init__(self, authority):
        self._authority, self.made, self.refuse = authority, [], False

    def __getattr__(self, name):
        return getattr(self._authority, name)

    async def issue(self, order):
        if self.refuse:
            self.refuse = False
            order = _outliving(order)
        self.made.append(await self._authority.issue(order))
        return self.made[-1]


def _outliving(order):
    late = order.plan.not_after + timedelta(days=36500)
    return replace(order, plan=replace(order.plan, not_after=late))
