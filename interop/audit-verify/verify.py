"""Checks an exported audit log, or proofs from it, without est-server: README.md tells how."""

import argparse
import hashlib
import json
import re
import sys
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

NOTE = re.compile(r"((\S+)\n(\d+)\n(\S+)\ntime \S+\nprevious (\S+)\n)\n\u2014 \2 (\S+)\n")


def require(told, text):
    if not told:
        sys.exit(f"NOT AS IT WAS: {text}")


def sha(*parts):  # RFC 9162 2.1.1: 0 stands before a leaf, 1 before two hashes
    return hashlib.sha256(b"".join(parts)).digest()


def read(note, keys):
    """Return size, root and the hash of the checkpoint before, once the signature is checked."""
    match = NOTE.fullmatch(note)
    require(match, f"no checkpoint: {note[:60]!r}")
    body, name, size, root, previous, signature = match.groups()
    octets = b64decode(signature)
    for key in keys:
        if octets[:4] == sha(f"{name}\n\x01".encode(), key.public_bytes_raw())[:4]:
            with suppress(InvalidSignature):
                key.verify(octets[4:], body.encode())
                return int(size), b64decode(root), b64decode(previous)
    sys.exit(f"NOT AS IT WAS: nobody that you trust signed the checkpoint of {size} leaves")


def check_proof(proof, keys):  # RFC 9162 2.1.3.2
    size, root, _ = read(proof["checkpoint"], keys)
    number, last, found = proof["index"], size - 1, sha(b"\x00", proof["leaf"].encode())
    for sibling in map(bytes.fromhex, proof["hashes"]):
        left = number % 2 or number == last
        found = sha(b"\x01", *((sibling, found) if left else (found, sibling)))
        while left and number and not number % 2:
            number, last = number >> 1, last >> 1
        number, last = number >> 1, last >> 1
    require(last == 0 and found == root, f"leaf {proof['index']} is not among {size} leaves")
    print(f"ok: leaf {proof['index']} of {size}: {proof['leaf']}")


def check_log(lines, keys, anchors):
    head = next(lines)
    first = size = head["since"]
    levels = [bit for bit in range(62, -1, -1) if size >> bit & 1]
    stack = [*zip(levels, map(bytes.fromhex, head["hashes"]), strict=True)]
    before, signed = None, -1
    for line in lines:
        if "leaf" in line:
            require(line["index"] == size, f"leaf {size} is missing: {line['index']} follows")
            level, found, size = 0, sha(b"\x00", line["leaf"].encode()), size + 1
            while stack and stack[-1][0] == level:
                level, found = level + 1, sha(b"\x01", stack.pop()[1], found)
            stack.append((level, found))
        elif "checkpoint" in line:
            signed, root, previous = read(line["checkpoint"], keys)
            *lefts, found = [one for _, one in stack] or [sha()]
            for left in reversed(lefts):
                found = sha(b"\x01", left, found)
            same = (signed, root) == (size, found)
            require(same, f"{size} leaves are not those of the checkpoint of {signed} leaves")
            known = bytes(32) if before is None else sha(before.encode())
            after_another = previous == known or (before is None and first)
            require(after_another, f"a checkpoint is missing before that of {size} leaves")
            before = line["checkpoint"]
            require(anchors.pop(size, before) == before, f"the anchor of {size} leaves differs")
    require(signed == size, f"leaves from {signed} on are under no checkpoint")
    require(all(one < first for one in anchors), f"anchored, not here: {sorted(anchors)}")
    print(f"ok: leaves {first} to {size - 1}, as signed")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file", type=Path)
parser.add_argument("--key", type=Path, action="append", required=True)
parser.add_argument("--anchor", type=Path, action="append", default=[])
asked = parser.parse_args()
trusted = [load_pem_public_key(path.read_bytes()) for path in asked.key]
notes = [match[0] for path in asked.anchor for match in NOTE.finditer(path.read_text("utf-8"))]
with asked.file.open(encoding="utf-8") as file:
    if file.read(1) == "[":
        for one in json.loads("[" + file.read()):
            check_proof(one, trusted)
    else:
        file.seek(0)
        check_log(map(json.loads, file), trusted, {read(n, trusted)[0]: n for n in notes})
