"""Checks of tokens, nonces and the appraisal: the fields of a `Mutation`."""

from __future__ import annotations

REMOVED = (
    # -- tokens
    (
        "wire/jws.py",
        'if not isinstance(header.get("alg"), str) or header["alg"] not in _ALGORITHMS:',
        "if False:",
        "test_no_algorithm,test_the_public_key_as_a_secret",
    ),
    (
        "wire/jws.py",
        "if header.keys() - _HEADER:",
        "if False:",
        "test_a_key_in_the_header",
    ),
    (
        "wire/jws.py",
        "if header.keys() - _HEADER:",
        "if False:",
        "test_something_critical_that_is_unknown",
        ("if not all(isinstance(value, str) for value in header.values()):", "if False:"),
    ),
    (
        "wire/cose.py",
        "if _CRITICAL in header or _CRITICAL in unprotected:",
        "if False:",
        "test_something_critical_that_is_unknown",
    ),
    (
        "attestation/tokens.py",
        "token.signed.verify(public_key(pem))",
        "pass",
        "test_a_changed_payload",
    ),
    (
        "wire/cose.py",
        "algorithm = header.get(_ALGORITHM)",
        "algorithm = header.get(_ALGORITHM, unprotected.get(_ALGORITHM))",
        "test_an_algorithm_that_is_not_protected",
    ),
    (
        "wire/cose.py",
        "if type(algorithm) is not int or algorithm not in _ALGORITHMS:",
        "if False:",
        "test_a_mac_for_an_algorithm",
    ),
    (
        "wire/cose.py",
        "parts = cbor.tagged(cbor.decode(data), SIGN1)",
        'parts = getattr(cbor.decode(data), "value", cbor.decode(data))',
        "test_another_structure",
    ),
    ("wire/cbor.py", "max_depth=DEEPEST,", "max_depth=400,", "test_deep_nesting"),
    (
        "wire/cbor.py",
        "allow_duplicate_keys=False",
        "allow_duplicate_keys=True",
        "test_a_claim_twice",
    ),
    (
        "attestation/tokens.py",
        "if isinstance(found, list):",
        "if isinstance(found, list):\n        return found[-1]\n    if False:",
        "test_one_nonce_of_several",
    ),
    (
        "attestation/eat.py",
        "if policy.profiles and profile not in policy.profiles:",
        "if False:",
        "test_another_profile",
    ),
    (
        "attestation/eat.py",
        'Check("dbgstat", "1 or more", actual, status >= 1)',
        'Check("dbgstat", "1 or more", actual, True)',
        "test_debugging_is_on_or_not_said_to_be_off",
    ),
    (
        "attestation/tokens.py",
        'if "iat" in claims and claims["iat"] > context.now.timestamp() + CLOCK_SKEW:',
        "if False:",
        "test_a_token_of_tomorrow",
    ),
    (
        "attestation/tokens.py",
        "if confirmed != context.spki:",
        "if False:",
        "test_about_another_key",
    ),
    (
        "attestation/tokens.py",
        "if claimed is None or not hmac.compare_digest(claimed, context.nonce):",
        "if False:",
        "test_a_token_without_a_nonce_is_not_fresh",
    ),
    (
        "attestation/tokens.py",
        "if claimed is None or not hmac.compare_digest(claimed, wanted):",
        "if False:",
        "test_a_psa_token_for_another_key",
    ),
    # -- nonces
    (
        "storage/nonces.py",
        'if again and bytes(row["used_by"]) != presented.use:',
        "if False:",
        "test_a_nonce_is_taken_once",
    ),
    (
        "storage/nonces.py",
        'if again and bytes(row["used_by"]) != presented.use:',
        "if False:",
        (
            "test_a_nonce_is_good_for_one_request,"
            "test_a_refused_request_has_spent_its_nonce,"
            "test_of_20_parallel_uses_of_one_nonce_one_is_issued,"
            "test_of_20_at_two_processes_one_is_issued_before_and_after_a_restart,"
            "test_a_renewal_needs_fresh_evidence"
        ),
        ('return TakenNonce(row["kept"], again)', 'return TakenNonce(row["kept"], again=False)'),
    ),
    (
        "storage/nonces.py",
        'if row["expires_at"] <= now:',
        "if False:",
        "test_a_refused_nonce_stays_as_it_was",
    ),
    (
        "storage/nonces.py",
        "if not _bound(row, presented):",
        "if False:",
        "test_a_nonce_belongs_to_its_tls_session_or_cookie,test_a_renewal_needs_fresh_evidence",
    ),
    (
        "storage/nonces.py",
        'if row["label"] != presented.label:',
        "if False:",
        "test_a_nonce_of_another_label_is_refused",
    ),
    (
        "storage/nonces.py",
        'raise Conflict("nonce.unknown", "this server has not given out this nonce")',
        'return TakenNonce("{}", again=False)',
        "test_a_nonce_that_nobody_gave_out_is_refused",
    ),
    # -- the bundle
    (
        "attestation/appraise.py",
        '"none", MISSING)\n',
        '"affirming", MISSING)\n',
        (
            "test_a_request_without_evidence_is_refused,test_a_statement_that_is_missing_refuses,"
            "test_evidence_that_is_an_extension_is_no_evidence"
        ),
    ),
    (
        "wire/pkcs10.py",
        "if len(set(oids)) < len(oids) or set(oids) >= _EXTENSION_REQUESTS:",
        "if False:",
        "test_two_attributes_are_refused,test_one_attribute_with_one_value",
    ),
    (
        "wire/attestation.py",
        "if not statements:",
        "if False:",
        "test_a_bundle_without_a_statement_is_refused,test_a_malformed_bundle_is_malformed",
    ),
    (
        "wire/attestation.py",
        "if len(found) > most:",
        "if False:",
        "test_certificates_are_counted_and_not_looked_at",
    ),
    (
        "attestation/appraise.py",
        'if unknown and policy.model.unknown_statements == "refuse":',
        "if False:",
        (
            "test_an_unknown_statement_is_refused_and_named,"
            "test_an_unknown_statement_is_refused_unless_the_policy_ignores_it"
        ),
    ),
    (
        "wire/der.py",
        'raise ValueError("the DER length is not valid")',
        "return identifier, start, len(der) - 2",
        "test_indefinite_lengths_are_refused",
    ),
    (
        "attestation/appraise.py",
        'yield Check("platforms-differ", "one platform", f"{parts}", parts == 1)',
        'yield Check("platforms-differ", "one platform", f"{parts}", True)',
        (
            "test_statements_about_two_platforms_are_refused,test_two_platforms_are_refused,"
            "test_a_key_of_one_tpm_beside_the_registers_of_another"
        ),
    ),
    # -- who asks
    (
        "attestation/x509_idevid.py",
        'Check("name", allowed, name, name in policy.names)',
        'Check("name", allowed, name, True)',
        "test_a_device_that_is_not_on_the_list",
    ),
    (
        "attestation/appraise.py",
        "fits = said is not None and found == {said}",
        "fits = True",
        "test_the_claims_name_who_asks",
    ),
    # -- operations
    (
        "enrollment/appraising.py",
        "if not isinstance(said, VerifiedEvidence):",
        "if False:",
        "test_a_verifier_that_fails_refuses",
    ),
    (
        "enrollment/appraising.py",
        "async with asyncio.timeout(self.time_limit):",
        "async with asyncio.timeout(None):",
        "test_a_verifier_that_is_away_issues_nothing",
    ),
    (
        "profiles/attested.py",
        'return f"the evidence does not satisfy policy {policy}"',
        'return f"the evidence does not satisfy policy {policy}: {result}"',
        "test_neither_the_answer_nor_the_log_has_what_was_compared",
    ),
    (
        "enrollment/appraising.py",
        "kind=type(error).__name__, at=at)",
        "kind=str(error), at=at)",
        "test_neither_the_answer_nor_the_log_has_what_was_compared",
    ),
)
