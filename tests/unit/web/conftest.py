"""The OCSP world of the revocation room serves these tests too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "revocation"))
