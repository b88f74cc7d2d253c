"""Bytes to frozen values and back: EST bodies, PKCS #10, CSR attributes, CMS.

No clock, no input or output, no policy. Every reader raises `est_server.errors.Malformed` and
nothing else, in time and memory bounded by the size of its input.
"""
