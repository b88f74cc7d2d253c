"""Removes each check of the verifiers once and runs the tests of its attacks: they must turn red.

    python tests/attestation/mutate.py [WORD …]        `make attestation-mutations`

A mutation is a piece of a module and what stands in its place. The module is changed on disk while
its tests run, and put back. Where another check stands behind, which decides something else and
refuses with the same code, a test of the whole server sees neither go alone: both are removed.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from removed_checks import REMOVED

REPOSITORY = Path(__file__).parents[2]
TESTS = (
    "tests/attestation",
    "tests/contract/test_nonce_contract.py",
    "tests/unit/attestation",
    "tests/unit/wire/test_wire_attestation.py",
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One check removed.

    Attributes:
        file: below est_server.
        text: as it stands.
        put: in its place.
        tests: names of tests, with commas between, of which each must fail.
        behind: the check behind it: another piece of the file, and what stands in its place.
    """

    file: str
    text: str
    put: str
    tests: str
    behind: tuple[str, str] | None = None


MUTATIONS = (
    Mutation(
        "attestation/tpm_evidence.py",
        "if not hmac.compare_digest(said.extra_data, context.nonce):",
        "if False:",
        "test_another_nonce,test_the_beginning_of_the_nonce",
    ),
    Mutation(
        "attestation/tpm_evidence.py",
        "if context.nonce is None or not said.extra_data:",
        "if context.nonce is None:",
        "test_an_empty_nonce",
    ),
    Mutation(
        "attestation/tpm_evidence.py",
        "verify_tpm_signature(parsed, signer.key, attest)",
        "pass",
        "test_software_signs,test_what_one_tpm_says_under_the_key_of_another,"
        "test_a_flipped_bit_of_the_statement,test_a_flipped_bit_of_the_signature,"
        "test_zero_for_a_signature,test_an_rsa_signature_of_an_ec_key",
    ),
    Mutation(
        "attestation/tpm2_certify.py",
        "if public.spki != context.spki:",
        "if False:",
        "test_the_csr_has_another_key",
    ),
    Mutation(
        "attestation/tpm2_certify.py",
        "if not hmac.compare_digest(public.name, said.name):",
        "if False:",
        "test_the_public_area_of_another_key_of_the_tpm,"
        "test_a_software_key_in_the_public_area,test_edited_attributes",
    ),
    Mutation(
        "attestation/tpm2_certify.py",
        'require_fixed(public, "tpm2.key")',
        "pass",
        "test_an_imported_key_genuinely_certified,test_a_key_that_may_leave",
    ),
    Mutation(
        "attestation/tpm2_certify.py",
        "if said.kind == QUOTE:",
        "if False:",
        "test_a_quote_for_a_certification",
    ),
    Mutation(
        "attestation/tpm2_quote.py",
        "if found.attest.kind != QUOTE:",
        "if False:",
        "test_a_certification_for_a_quote",
    ),
    Mutation(
        "attestation/tpm2_quote.py",
        "if not hmac.compare_digest(together, found.attest.pcr_digest):",
        "if False:",
        "test_an_altered_value",
    ),
    Mutation(
        "attestation/tpm2_quote.py",
        "if sent != tuple((bank, index, size) for index in indices):",
        "if False:",
        "test_a_dropped_value,test_values_in_another_order",
    ),
    Mutation(
        "attestation/tpm2_quote.py",
        "missing = [index for index in policy.asked() if index not in values]",
        "missing = []",
        "test_a_required_register_is_not_covered",
    ),
    Mutation(
        "attestation/tpm2_quote.py",
        "if {*indices} <= RESETTABLE:",
        "if False:",
        "test_registers_that_anybody_resets",
    ),
    Mutation(
        "attestation/tpm2_quote.py",
        "if values.get(index, value) != value:",
        "if False:",
        "test_a_log_of_another_boot",
    ),
    Mutation(
        "wire/tcg_event_log.py",
        "if event.digests.get(bank) != hashlib.new(BANKS[bank], event.data).digest():",
        "if False:",
        "test_a_log_whose_text_says_more_than_its_digest",
    ),
    Mutation(
        "attestation/tpm_attester.py",
        "if Attributes.RESTRICTED not in public.attributes:",
        "if False:",
        "test_an_attestation_key_that_signs_anything,test_what_such_a_key_signs_may_be_forged",
    ),
    Mutation(
        "attestation/tpm_attester.py",
        "if Attributes.DECRYPT in public.attributes:",
        "if False:",
        "test_a_storage_key_for_an_attestation_key,test_the_endorsement_key_for_an_attestation_key",
    ),
    Mutation(
        "wire/tpm_attest.py",
        "if magic != MAGIC:",
        "if False:",
        "test_another_magic_well_signed",
    ),
    Mutation(
        "wire/tpm_buffer.py",
        "if self.left:",
        "if False:",
        "test_octets_behind_the_statement,test_octets_behind_the_public_area,"
        "test_octets_behind_the_signature",
    ),
    Mutation(
        "wire/tpm_buffer.py",
        "if end > len(self._data):",
        "if False:",
        "test_a_statement_cut_short,test_a_length_beyond_the_end",
    ),
    Mutation(
        "wire/tpm_buffer.py",
        "if len(data) > most:",
        "if False:",
        "test_a_huge_statement",
    ),
    Mutation(
        "wire/tpm_signature.py",
        "if algorithm not in _ALGORITHMS:",
        "if False:",
        "test_sha1_hmac_and_nothing_for_a_signature",
    ),
    Mutation(
        "wire/tpm_signature.py",
        "if algorithm not in algorithms.HASHES:",
        "if False:",
        "test_sha1_hmac_and_nothing_for_a_signature",
    ),
    Mutation(
        "wire/tpm_public.py",
        "if kind not in {algorithms.RSA, algorithms.ECC}:",
        "if False:",
        "test_a_keyed_hash_for_a_key",
    ),
    Mutation(
        "wire/tpm_public.py",
        "if name_algorithm not in algorithms.HASHES:",
        "if False:",
        "test_a_name_by_sha1",
    ),
    Mutation(
        "wire/tpm_public.py",
        "return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()",
        "return ec.generate_private_key(curve).public_key()",
        "test_a_point_off_its_curve",
    ),
    Mutation(
        "wire/tpm_credential.py",
        'key = _kdfa(digest, seed, b"STORAGE", name, key_octets)',
        'key = _kdfa(digest, seed, b"STORAGE", b"", key_octets)',
        "test_a_key_of_a_real_tpm_is_believed",
    ),
    Mutation(
        "attestation/chains.py",
        "verified = policy.build_client_verifier().verify(leaf, [*pool, *known])",
        "return (leaf,)",
        "test_another_manufacturers_root,test_of_another_ca,"
        "test_a_certificate_issued_by_a_certificate_that_is_no_ca",
    ),
    Mutation(
        "attestation/chains.py",
        "if leaf.issuer == leaf.subject and _signed_by_itself(leaf):",
        "if False:",
        "test_a_self_signed_endorsement_certificate",
    ),
    Mutation(
        "attestation/tpm_attester.py",
        "if sha256(spki(one)).hex() == digest:",
        "if True:",
        "test_the_certificate_of_another_endorsement_key",
    ),
    Mutation(
        "attestation/tpm_attester.py",
        "if now > endorsement.not_valid_after_utc:\n"
        "        return endorsement.not_valid_after_utc, False",
        "if now > endorsement.not_valid_after_utc:\n"
        "        return endorsement.not_valid_after_utc, True",
        "test_an_expired_endorsement_certificate",
    ),
    Mutation(
        "attestation/chains.py",
        "if at > leaf.not_valid_after_utc:",
        "if False:",
        "test_an_expired_attestation_certificate",
    ),
    Mutation(
        "attestation/tpm_attester.py",
        "if AK_CERTIFICATE not in purposes(leaf):",
        "if False:",
        "test_an_attestation_certificate_for_another_purpose",
    ),
    Mutation(
        "attestation/chains.py",
        "if is_ca(leaf):",
        "if False:",
        "test_an_attestation_certificate_that_is_a_ca,test_an_endorsement_certificate_that_is_a_ca",
    ),
    Mutation(
        "attestation/chains.py",
        "if names & barred:",
        "if False:",
        "test_a_revoked_attestation_key,test_a_revoked_endorsement_key_certificate_or_ca",
    ),
    Mutation(
        "attestation/tpm_attester.py",
        "passed = actual.lower() in wanted",
        "passed = True",
        "test_software_tpms_are_no_manufacturers_in_production",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "if not layers[-1].environments:",
        "if False:",
        "test_the_last_layer_says_nothing_and_the_one_above_speaks_for_it",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "layers = [_layer(found) for found in chain]",
        "layers = [_layer(chain[-1]) for found in chain[-2:]]",
        "test_each_layer_is_held_against_its_own_reference_values",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "if spki(leaf) != context.spki:",
        "if False:",
        "test_another_key_in_the_request",
    ),
    Mutation(
        "attestation/dice_x509.py",
        'verify_possession(leaf, said.signature, signed, "dice")',
        "pass",
        "test_a_signature_for_another_key_or_nonce_or_by_somebody_else",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "if said.nonce and said.nonce != certified:",
        "if False:",
        "test_a_nonce_beside_a_recording",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "if certified is not None and certified != said.nonce:",
        "if False:",
        "test_a_nonce_beside_a_recording",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "fresh=nonce is not None and nonce == context.nonce,",
        "fresh=True,",
        "test_without_a_nonce_it_is_a_recording",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "if dice.MULTI_TCB_INFO_COMP in values:",
        "if False:",
        "test_environments_in_a_form_that_is_not_read",
    ),
    Mutation(
        "attestation/dice_x509.py",
        "if len(ueids) > 1:",
        "if False:",
        "test_two_names_of_one_device",
    ),
    Mutation(
        "attestation/dice_x509.py",
        'refuse_revoked(chain, policy.revoked, "dice")',
        "pass",
        "test_a_revoked_device",
    ),
    Mutation(
        "attestation/dice_chain.py",
        "if is_ca(leaf):",
        "if False:",
        "test_an_issuer_for_an_alias_key",
    ),
    Mutation(
        "attestation/dice_chain.py",
        "if at > leaf.not_valid_after_utc:",
        "if False:",
        "test_time",
    ),
    Mutation(
        "attestation/dice_chain.py",
        "made.critical_extensions.difference_update(_HANDLED)",
        "made.critical_extensions.clear()",
        "test_a_critical_extension_that_nobody_understands",
    ),
    Mutation(
        "attestation/dice_chain.py",
        "path = _at_once(validator.async_validate_path())",
        "return (*anchors[:1], *reversed(above), leaf)",
        "test_a_chain_to_somebody_else,test_a_layer_certified_by_a_key_that_may_not",
    ),
    Mutation(
        "attestation/dice_policy.py",
        "count = len(wanted) == len(found)",
        "count = True",
        "test_a_layer_that_the_policy_does_not_know,test_several_environments_in_one_certificate",
    ),
    Mutation(
        "attestation/dice_policy.py",
        "passed = not flags & forbidden",
        "passed = True",
        "test_debug_recovery_and_the_like,test_flags_that_nobody_measured",
    ),
    Mutation(
        "attestation/dice_policy.py",
        "if untold:",
        "if False:",
        "test_flags_that_nobody_measured",
    ),
    Mutation(
        "attestation/dice_policy.py",
        "passed = found.svn is not None and found.svn >= wanted.svn",
        "passed = True",
        "test_a_security_version_below_the_least",
    ),
    Mutation(
        "attestation/dice_policy.py",
        'yield Check(name, f"{at}: {value}", f"{actual}", actual == value)',
        'yield Check(name, f"{at}: {value}", f"{actual}", True)',
        "test_other_firmware,test_index_and_type",
    ),
    Mutation(
        "attestation/dice_policy.py",
        "passed = bool(digests) and all(digest in wanted.fwids for digest in digests)",
        "passed = bool(digests) and any(digest in wanted.fwids for digest in digests)",
        "test_other_firmware",
    ),
    Mutation(
        "attestation/android_key.py",
        "if described[-1:] != [leaf]:",
        "if False:",
        "test_a_description_below_a_genuine_key,test_a_certificate_without_a_description_below_a_genuine_key",
    ),
    Mutation(
        "attestation/android_key.py",
        "if described[-1:] != [leaf]:",
        "if described[:1] != [leaf]:",
        "test_a_description_below_a_genuine_key",
    ),
    Mutation(
        "attestation/android_key.py",
        "if spki(leaf) != context.spki:",
        "if False:",
        "test_another_key_in_the_request",
    ),
    Mutation(
        "attestation/android_key.py",
        "if nonce is not None and not hmac.compare_digest(said.challenge, nonce):",
        "if False:",
        "test_another_challenge",
    ),
    Mutation(
        "attestation/android_key.py",
        "fresh=nonce is not None,",
        "fresh=True,",
        "test_a_key_in_a_trusted_execution_environment",
    ),
    Mutation(
        "attestation/android_key.py",
        "refuse_revoked(chain, policy.revoked, _CODE)",
        "pass",
        "test_a_revoked_key_or_certificate",
    ),
    Mutation(
        "attestation/android_key.py",
        "refuse_listed(chain, policy.status_list or frozenset())",
        "pass",
        "test_a_certificate_on_the_status_list",
    ),
    Mutation(
        "attestation/android_key.py",
        'context.policy.expired_issuers != "warn"',
        "False",
        "test_issuers_that_ended,test_a_key_of_a_real_device",
    ),
    Mutation(
        "attestation/android_key.py",
        'or refused.code != f"{_CODE}.unknown-issuer"',
        "or False",
        "test_issuers_that_ended",
    ),
    Mutation(
        "attestation/android_key.py",
        "return verify_chain(leaf, above, context.trust, context.now, _CODE), None",
        "return (leaf, *reversed(above)), None",
        "test_a_chain_to_somebody_else,test_what_software_signed_with_a_genuine_key_of_a_real_device",
    ),
    Mutation(
        "attestation/android_policy.py",
        "level = min(found.security_level, found.keymint_security_level)",
        "level = max(found.security_level, found.keymint_security_level)",
        "test_a_key_in_software,test_a_key_that_has_to_be_in_strongbox",
    ),
    Mutation(
        "attestation/android_policy.py",
        "actual, level >= wanted)",
        "actual, passed=True)",
        "test_a_key_in_software,test_a_key_that_has_to_be_in_strongbox",
    ),
    Mutation(
        "attestation/android_policy.py",
        "root is not None and root.locked)",
        "passed=True)",
        "test_an_unlocked_bootloader,test_a_root_of_trust_that_software_tells",
    ),
    Mutation(
        "attestation/android_policy.py",
        "state in policy.boot_states)",
        "passed=True)",
        "test_a_device_that_started_something_else,test_a_root_of_trust_that_software_tells",
    ),
    Mutation(
        "attestation/android_policy.py",
        "key in policy.boot_keys)",
        "passed=True)",
        "test_a_device_that_started_something_else",
    ),
    Mutation(
        "attestation/android_policy.py",
        "passed = level_said is not None and _day(level_said) >= _day(least)",
        "passed = True",
        "test_a_patch_level_below_the_least,test_a_patch_level_that_software_tells",
    ),
    Mutation(
        "attestation/android_policy.py",
        "return level * 100 if level < _LARGEST_MONTH else level",
        "return level",
        "test_a_patch_level_below_the_least",
    ),
    Mutation(
        "attestation/android_policy.py",
        'passed = said.origin == "generated"',
        "passed = True",
        "test_a_key_that_was_imported",
    ),
    Mutation(
        "attestation/android_policy.py",
        "passed = bool(said.purposes) and said.purposes <= {*policy.purposes}",
        "passed = True",
        "test_a_key_for_other_purposes",
    ),
    Mutation(
        "attestation/android_policy.py",
        "passed = bool(actual) and all(one in wanted for one in actual)",
        "passed = any(one in wanted for one in actual)",
        "test_an_application_of_somebody_else",
    ),
    Mutation(
        "attestation/android_policy.py",
        "said = found.hardware\n",
        "said = found.software\n",
        "test_a_root_of_trust_that_software_tells,test_a_patch_level_that_software_tells",
    ),
)


def red(mutation: Mutation) -> set[str]:
    """Return which of the tests fail with the mutation in."""
    path = REPOSITORY / "est_server" / mutation.file
    before = path.read_text()
    after = before
    pieces = ((mutation.text, mutation.put), mutation.behind)
    for text, put in filter(None, pieces):
        assert after.count(text) == 1, f"{mutation.file}: {text}"
        after = after.replace(text, put)
    wanted = mutation.tests.split(",")
    options = ("-q", "--tb=no", "-p", "no:cacheprovider", "-k", " or ".join(wanted))
    try:
        path.write_text(after)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *TESTS, *options],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        path.write_text(before)
    assert done.returncode in {0, 1}, done.stdout + done.stderr  # no other code is a test's
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return {name for name in wanted if any(f"::{name}" in line for line in failed)}


def main(words: list[str]) -> int:
    """Return 1 if a test did not see its mutation."""
    missed = 0
    for mutation in (*MUTATIONS, *(Mutation(*one) for one in REMOVED)):
        if words and not any(word in mutation.tests + mutation.file for word in words):
            continue
        found = red(mutation)
        for name in mutation.tests.split(","):
            missed += name not in found
            print(f"{mutation.file:34} {name:64} {'red' if name in found else 'NOT SEEN'}")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
