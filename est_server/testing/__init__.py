"""What authors of CA backends test with; it needs pytest.

    from est_server.testing import CaContract

    class TestMyCa(CaContract):
        backend = "my-ca"
        world = MyWorld

`world.World` is what an author writes: a CA whose faults can be ordered, and whose own records can
be read. `CaContract` holds the backend to `est_server.ports.ca`, case by case; `kills` kills a
process that issues, again and again, and looks at the books; the pytest plugin
`est_server.testing.table` prints a table of backend and case (``--ca-table``).
"""

from est_server.testing.contract import CaContract
from est_server.testing.desk import MovedClock
from est_server.testing.world import CASES, Fault, World

__all__ = ["CASES", "CaContract", "Fault", "MovedClock", "World"]
