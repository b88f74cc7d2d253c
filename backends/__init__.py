"""Certificate authorities behind `est_server.ports.ca`, found by entry point."""
