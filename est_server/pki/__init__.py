"""X.509 rules: names, keys, the certificate plan, path validation, and the check of what a CA made.

Pure over values: no socket, no clock, no database; the time is always an argument.
"""
