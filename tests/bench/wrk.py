"""wrk, the load generator, as what drives a contender."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from typing import TYPE_CHECKING

from measure import Contender, Driven

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_REQUESTS = re.compile(r"(\d+) requests in ")
_FAILED = re.compile(r"Non-2xx or 3xx responses|Socket errors")


def contender(
    name: str,
    pid: int,
    address: tuple[str, int],
    requests: Sequence[bytes],
    scratch: Path,
    *,
    seconds: int,
    connections: int,
) -> Contender:
    """Return a contender whose clients send these requests in turn, on connections that stay.

    Args:
        name: what the table calls it.
        pid: the server's.
        address: where it listens.
        requests: whole HTTP requests, octet for octet.
        scratch: for the script.
        seconds: of a round.
        connections: open at once, driven by one thread.
    """
    if (program := shutil.which("wrk")) is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    script = scratch / f"{len(list(scratch.iterdir()))}.lua"
    script.write_text(_SCRIPT.format(requests=",\n".join(map(_lua, requests))))
    command = [
        program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script),
        "http://{}:{}/".format(*address),
    ]  # fmt: skip

    def drive() -> Driven:
        before = _children_cpu()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if (failed := _FAILED.search(done.stdout)) is not None:
            raise RuntimeError(f"{name}: {done.stdout[failed.start() :]}")
        found = _REQUESTS.search(done.stdout)
        if found is None:
            raise RuntimeError(f"wrk said: {done.stdout}")
        return Driven(int(found[1]), _children_cpu() - before)

    return Contender(name, pid, lambda: None, drive)


_SCRIPT = """\
local requests = {{
{requests}
}}
local at = 0
function request()
    at = at % #requests + 1
    return requests[at]
end
"""


def _lua(octets: bytes) -> str:
    return '"' + "".join(f"\\{octet:03d}" for octet in octets) + '"'


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
