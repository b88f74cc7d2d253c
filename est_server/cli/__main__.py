"""``python -m est_server.cli``."""

from est_server.cli import main

main()
