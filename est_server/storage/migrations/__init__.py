"""The ledger's history: one file per step, run by `est-server db upgrade`."""
