"""One enrollment from an authenticated request to a durable certificate.

    authenticate   who is asking                            Unauthenticated
    decide         profile -> certificate plan              Denied
    reserve        durable before anything is asked of a CA
    issue          the CertificateAuthority port            BackendRejected, BackendUnavailable
    check          returned certificate == plan
    record         durable before anything leaves

`service` walks these steps, each once; the rules live in `est_server.profiles`, the bytes in
`est_server.wire`.
"""
