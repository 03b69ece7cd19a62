"""Computes the vectors of docs/FORMAT.md (identity to rows) anew, with nothing of ours: hashlib, hmac and `cryptography`.

`python tests/python/vectors.py` prints them as JSON; `ingest/wire/tests/vectors.rs` holds the Rust code to the same.
"""

import base64
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED = bytes([7]) * 32
FLEET = "acme-fleet"


def sha(data):
    return hashlib.sha256(data).digest()


def url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def standard(data):
    return base64.b64encode(data).decode()


def jcs(document):
    # Names are ASCII and numbers are small integers here: then this is RFC 8785.
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hkdf(seed, info):
    extracted = hmac.new(bytes(32), seed, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def subject_key(epoch):
    fleet = FLEET.encode()
    return hkdf(SEED, b"candor/subject/v1" + struct.pack(">H", len(fleet)) + fleet + struct.pack(">Q", epoch))


def public(key):
    return key.public_key().public_bytes_raw()


def table(subject, purpose):
    return sha(b"candor/table/v1" + subject + purpose.encode())[:16].hex()


def identity(epoch):
    seed = subject_key(epoch)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    subject = sha(public(key))
    return {"seed": seed.hex(), "public": url(public(key)), "subject": subject.hex(), "analytics": table(subject, "analytics")}


def request(key):
    body = b'{"resourceLogs":[]}'
    nonce = bytes(range(16))
    lines = [
        ("@method", "POST"),
        ("@authority", "candor.example"),
        ("@path", "/v1/logs"),
        ("@query", "?"),
        ("content-digest", f"sha-256=:{standard(sha(body))}:"),
        ("content-type", "application/json"),
        ("candor-fleet", FLEET),
        ("candor-consent", "1"),
        ("candor-batch", "17"),
        ("sec-gpc", "1"),
    ]
    covered = " ".join(f'"{name}"' for name, _ in lines)
    parameters = (
        f"({covered});created=1795377600;expires=1795377660;"
        f'nonce="{url(nonce)}";keyid="{url(public(key))}";alg="ed25519"'
    )
    base = "".join(f'"{name}": {value}\n' for name, value in lines) + f'"@signature-params": {parameters}'
    return {
        "base": base,
        "content_digest": lines[4][1],
        "signature_input": f"candor={parameters}",
        "signature": f"candor=:{standard(key.sign(base.encode()))}:",
        "nonce_id": sha(public(key) + url(nonce).encode())[:16].hex(),
    }


def statement(key):
    content = {
        "age_from": 18,
        "expires": "2027-01-01",
        "fleet": FLEET,
        "granted_at": "2026-01-31T12:00:00Z",
        "gpc": True,
        "key": url(public(key)),
        "notice": {"language": "de", "version": "2026-01"},
        "previous": "0" * 64,
        "purposes": {"analytics": "given", "marketing": "refused"},
        "sequence": 4294967297,
    }
    text = jcs(content)
    signature = url(key.sign(b"candor/statement/v1\n" + text.encode()))
    return {"content": text, "hash": sha(text.encode()).hex(), "signature": signature}


def row(cells, received_date):
    out = b""
    for name, value in sorted([*cells, ("received_date", b"d" + struct.pack(">q", received_date))]):
        out += struct.pack(">I", len(name)) + name.encode() + value
    return out


def text(value):
    return struct.pack(">I", len(value.encode())) + value.encode()


def rows():
    integer = lambda value: b"i" + struct.pack(">q", value)
    first = row(
        [
            ("event", b"s" + text("phone.app.opened")),
            ("time", b"t" + struct.pack(">q", 1_795_377_600_500_000)),
            ("consent_seq", integer(1)),
            ("decision", integer(2)),
            ("charging", b"b\x01"),
            ("load", b"f" + struct.pack(">d", -0.0)),
            ("heat", b"f" + bytes.fromhex("7ff8000000000000")),
            ("words", b"l" + struct.pack(">I", 2) + b"s" + text("ä") + b"n"),
        ],
        20_779,
    )
    second = row([("event", b"s" + text("phone.app.closed")), ("decision", integer(-1))], 20_779)
    hashed = b""
    for stream, all_rows in sorted({"phone": [first, second, second], "car": [second]}.items()):
        hashed += text(stream) + struct.pack(">Q", len(all_rows))
        hashed += b"".join(struct.pack(">I", len(one)) + one for one in sorted(all_rows))
    return {"first": first.hex(), "second": second.hex(), "hash": sha(hashed).hex()}


def receipt(batch, subject, rows_hash):
    body = sha(b'{"resourceLogs":[]}').hex()
    return jcs(
        {
            "batch": batch,
            "body": body,
            "catalogue": "0a" * 32,
            "consent": 1,
            "fleet": FLEET,
            "policy": "0b" * 32,
            "purposes": {
                "analytics": {"batch": 3, "dropped": {"no_consent": 2}, "offered": 5, "rows": rows_hash, "stored": 3},
                "marketing": {"dropped": {"no_consent": 5}, "offered": 5, "stored": 0},
            },
            "received_at": 1_795_377_600_500_000,
            "seal_by": 1_795_378_200_500_000,
            "subject": subject,
        }
    )


def receipts(subject, rows_hash):
    service = Ed25519PrivateKey.from_private_bytes(bytes([8]) * 32)
    texts = [receipt(batch, subject, rows_hash) for batch in (17, 18, 19)]
    leaves = [sha(b"\0" + one.encode()) for one in texts]
    left = sha(b"\1" + leaves[0] + leaves[1])
    root = sha(b"\1" + left + leaves[2])
    signature = service.sign(b"candor/receipts/v1\n" + struct.pack(">Q", 3) + root)
    paths = [[leaves[1], leaves[2]], [leaves[0], leaves[2]], [left]]
    return {
        "first": texts[0],
        "leaves": [leaf.hex() for leaf in leaves],
        "root": root.hex(),
        "paths": [[url(one) for one in path] for path in paths],
        "key": url(public(service)),
        "signature": url(signature),
    }


def sum_receipt(batch, offered, dropped):
    purpose = {"dropped": {"no_consent": dropped} if dropped else {}, "offered": offered, "stored": offered - dropped}
    document = {
        "batch": batch,
        "body": "0c" * 32,
        "catalogue": "0a" * 32,
        "fleet": FLEET,
        "policy": "0b" * 32,
        "purposes": {"analytics": purpose},
        "received_at": 1_795_377_600_500_000,
        "seal_by": 1_795_381_200_500_000,
        "subject": "0d" * 32,
    }
    return jcs(document), {"analytics": purpose}


def counted(sums):
    encoded = jcs(sums).encode()
    return struct.pack(">I", len(encoded)) + encoded


def plus(one, other):
    dropped = dict(one["analytics"]["dropped"])
    for reason, records in other["analytics"]["dropped"].items():
        dropped[reason] = dropped.get(reason, 0) + records
    add = lambda name: one["analytics"][name] + other["analytics"][name]
    return {"analytics": {"dropped": dropped, "offered": add("offered"), "stored": add("stored")}}


def above(left, right):
    hashed = b"\1" + left[0] + counted(left[1]) + right[0] + counted(right[1])
    return sha(hashed), plus(left[1], right[1])


def totals():
    leaves = []
    for batch, offered, dropped in [(1, 5, 0), (2, 7, 3), (3, 100, 1)]:
        text, sums = sum_receipt(batch, offered, dropped)
        leaves.append((sha(b"\0" + sha(b"\0" + text.encode()) + counted(sums)), sums))
    leaves.sort(key=lambda leaf: leaf[0])
    root = above(above(leaves[0], leaves[1]), leaves[2])
    cells = [
        {"dropped": {"no_consent": 4}, "offered": 112, "purpose": "analytics", "source": "agents", "stored": 108, "stream": "phone.app"},
        {"dropped": {}, "offered": 50, "purpose": "analytics", "source": "phones", "stored": 50, "stream": ""},
    ]
    nonce = bytes([9]) * 32
    statement = sha(b"a statement")
    return {
        "leaves": [leaf[0].hex() for leaf in leaves],
        "sums": jcs(root[1]),
        "root": root[0].hex(),
        "logged": sha(b"\2" + root[0] + counted(root[1])).hex(),
        "cells": jcs(cells),
        "hidden": sha(b"\0" + nonce + jcs(cells).encode()).hex(),
        "consents": sha(b"\0" + bytes([5]) * 16 + statement).hex(),
    }


def erasure():
    service = Ed25519PrivateKey.from_private_bytes(bytes([8]) * 32)
    ledger, nonce = bytes([5]) * 32, bytes([6]) * 32
    certificate = {
        "deadline": 1_797_969_600_000_000,
        "done_at": 1_795_377_700_000_000,
        "files": [
            {"new": "02" * 32, "old": "01" * 32, "removed": 3, "table": "analytics/phone.app"},
            {"old": "01" * 32, "removed": 4, "table": "diagnostics/phone.app"},
        ],
        "fleet": FLEET,
        "id": bytes(range(16)).hex(),
        "kind": "certificate",
        "places": [
            {"place": "tables", "state": "done"},
            {"place": "backups", "state": "due", "until": 1_797_969_600_000_000},
        ],
        "requested_at": 1_795_377_600_000_000,
        "rows": 7,
        "scope": "all",
        "subject": sha(b"candor/certificate/v1" + nonce + ledger).hex(),
    }
    text = jcs(certificate)
    tag = lambda *parts: hmac.new(bytes([3]) * 32, b"".join(parts), hashlib.sha256).digest()
    return {
        "certificate": text,
        "digest": sha(text.encode()).hex(),
        "signature": url(service.sign(b"candor/certificate/v1\n" + text.encode())),
        "tombstone": tag(ledger).hex(),
        "name": tag(b"candor/tombstone/name/v1", b"1a58945753576fbd6a7b921bb387d542")[:16].hex(),
        "nonce": tag(b"candor/certificate/nonce/v1", bytes(range(16)), ledger).hex(),
    }


def main():
    key = Ed25519PrivateKey.from_private_bytes(subject_key(0))
    encoded = rows()
    vectors = {
        "identity": [identity(0), identity(1)],
        "spool": hkdf(SEED, b"candor/spool/v1").hex(),
        "request": request(key),
        "statement": statement(key),
        "rows": encoded,
        "receipts": receipts(identity(0)["subject"], encoded["hash"]),
        "totals": totals(),
        "erasure": erasure(),
    }
    print(json.dumps(vectors, indent=2, ensure_ascii=False))


main()
