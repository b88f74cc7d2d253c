"""Is a certificate good, by a compact set alone? No server is asked, none of its code is used.

Prints good, revoked or not-covered, and why; exits with 0, 1 or 3, and with 4 if the set itself is
not to be believed. Written from docs/compact-set.md.
"""

import argparse
import hashlib
import struct
import sys
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

CONTENT_TYPE = "2.25.139285283238781527242952579486068001627"
SIGNED_DATA, SHA2 = "1.2.840.113549.1.7.2", "2.16.840.1.101.3.4.2."
OF_TYPE, OF_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
HASHES = {f"{SHA2}1": hashes.SHA256(), f"{SHA2}2": hashes.SHA384(), f"{SHA2}3": hashes.SHA512()}
HEADER = struct.Struct(">4sBBBBQQQQQQ8sIIII")
BAND, CLOCK_SKEW = 28, 300


class NotBelieved(Exception): ...


def need(condition, text):
    if not condition:
        raise NotBelieved(text)


# -- DER: (tag, content, whole) --------------------------------------------------------------------
def read(der):
    need(len(der) >= 2, "cut short")
    length, start = der[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(der[2:start], "big")
    need(len(der) >= start + length, "cut short")
    return der[0], der[start : start + length], der[: start + length]


def inside(element):
    found, rest = [], element[1]
    while rest:
        found.append(read(rest))
        rest = rest[len(found[-1][2]) :]
    return found


def oid(content):
    values, value = [], 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            values, value = [*values, value], 0
    first = min(values[0] // 40, 2)
    return ".".join(map(str, (first, values[0] - 40 * first, *values[1:])))


# -- 1 the signature: RFC 5652, one signer, the CA itself ------------------------------------------
def signed_content(der, ca):
    kind, inner = inside(read(der))
    need(oid(kind[1]) == SIGNED_DATA, "no CMS SignedData")
    _version, _digests, encapsulated, infos = inside(read(inner[1]))
    content_type, explicit = inside(encapsulated)
    need(oid(content_type[1]) == CONTENT_TYPE, "another content than a compact set")
    content = read(explicit[1])[1]
    (info,) = inside(infos)
    _version, signer, digest, attributes, _algorithm, signature = inside(info)
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    need(signer[0] == 0x80 and signer[1] == own, "another CA's set")
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    need(usage.crl_sign, "this CA may not sign lists")
    used, key = HASHES[oid(read(digest[1])[1])], ca.public_key()
    bound = {oid(one[1]): read(values[1])[1] for one, values in map(inside, inside(attributes))}
    need(oid(bound[OF_TYPE]) == CONTENT_TYPE, "the signature is for another content")
    need(bound[OF_DIGEST] == hashlib.new(used.name, content).digest(), "the content was changed")
    rsa_way = (padding.PKCS1v15(), used) if isinstance(key, rsa.RSAPublicKey) else ()
    how = (ec.ECDSA(used),) if isinstance(key, ec.EllipticCurvePublicKey) else rsa_way
    key.verify(signature[1], b"\x31" + attributes[2][1:], *how)  # a SET OF: RFC 5652 5.4
    return content


# -- 2 the set ------------------------------------------------------------------------------------
def product(column, place, coefficients):
    bits = 0
    for i in range(BAND):
        bits ^= column[place + i] & coefficients[i]
    return bits.bit_count() & 1


def passes(seed, level, columns, serial):
    digest = hashlib.sha256(seed + bytes([level]) + serial).digest()
    place = int.from_bytes(digest[:4], "big") * (len(columns[0]) - BAND + 1) >> 32
    return not any(product(column, place, digest[4:]) for column in columns)


def answer(content, ca, certificate, now, least_number):
    magic, version, columns, identifier, _, number, *times = HEADER.unpack_from(content)
    *times, seed, covered, not_good, size, last = times
    this_update, next_update, begins_from, begins_until, ends_from = times
    at = HEADER.size + identifier
    need(magic == b"CSET" and version == 1, "another format")
    need(len(content) == at + columns * size + last, "not as long as it says")
    need(number >= least_number, f"number {number} is older than one that was seen")
    if now is not None:
        need(this_update - CLOCK_SKEW <= now < next_update, "it is from the future, or has ended")
    text = f"set {number}, {covered} certificates, {not_good} not good"
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return "not-covered", "the CA has not issued this certificate"
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not (begins_from <= begins.timestamp() <= begins_until and ends_from <= ends.timestamp()):
        return "not-covered", f"{text}: its dates are outside"
    serial = certificate.serial_number.to_bytes(20, "big").lstrip(b"\0")
    sieve = [content[at + n * size : at + (n + 1) * size] for n in range(columns)]
    decision = [content[at + columns * size :]] if last else []
    levels = [(1, sieve), (2, decision)]
    bad = not_good and all(passes(seed, level, found, serial) for level, found in levels if found)
    return "revoked" if bad else "good", text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("set", "ca", "certificate"):
        parser.add_argument(name, type=argparse.FileType("rb"))
    parser.add_argument("--least-number", type=int, default=0)
    parser.add_argument("--at", type=int, default=int(time.time()))
    parser.add_argument("--no-clock", dest="at", action="store_const", const=None)
    given = parser.parse_args()
    ca, certificate = (
        x509.load_pem_x509_certificate(file.read()) for file in (given.ca, given.certificate)
    )
    try:
        content = signed_content(given.set.read(), ca)
        found, why = answer(content, ca, certificate, given.at, given.least_number)
    except (NotBelieved, InvalidSignature, ValueError, LookupError, struct.error) as error:
        found, why = "not-believed", str(error) or "the CA has not signed this"
    print(f"{found}: {why}")
    return {"good": 0, "revoked": 1, "not-covered": 3}.get(found, 4)


if __name__ == "__main__":
    sys.exit(main())
