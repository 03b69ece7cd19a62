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
# A subject that the sealed file below has nothing of.
ABSENT = 5


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


def numbers(values):
    low, most = min(values), max(values) - min(values)
    width = next(width for width in (0, 1, 2, 4, 8) if most < 1 << 8 * width)
    return struct.pack(">qB", low, width) + b"".join((value - low).to_bytes(width, "big") for value in values)


def column(name, tag, cells):
    """Cells are numbers, or bytes as a row has them; None where there is nothing."""
    there = [cell for cell in cells if cell is not None]
    if not there:
        return b""
    head = struct.pack(">I", len(name)) + name.encode() + tag
    one = (lambda cell: cell) if tag in b"fsl" else (lambda cell: struct.pack(">b" if tag == b"b" else ">q", cell))
    if len(there) == len(cells) and len(set(there)) == 1:
        return head + b"=" + one(there[0])
    if len(there) == len(cells):
        head += b"*"
    else:
        bits = "".join("0" if cell is None else "1" for cell in cells)
        head += b"?" + b"".join(int(bits[at : at + 8].ljust(8, "0"), 2).to_bytes(1, "big") for at in range(0, len(bits), 8))
    if tag in b"sl":
        there = [cell[4:] if tag == b"s" else cell for cell in there]
        return head + numbers([len(cell) for cell in there]) + b"".join(there)
    return head + (b"".join(there) if tag == b"f" else numbers(there))


def content(rows, tags, received_date):
    all_rows = [{**cells, "received_date": received_date} for cells in rows]
    names = sorted(tags)
    return struct.pack(">Q", len(rows)) + b"".join(
        column(name, tags[name], [cells.get(name) for cells in all_rows]) for name in names
    )


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1" + tree(leaves[:left]) + tree(leaves[left:]))


def sealed():
    """A file of five rows, of three subjects."""
    salt, secret = bytes([9]) * 32, bytes([10]) * 32
    tags = {"event": b"s", "time": b"t", "batch": b"i", "decision": b"i", "charging": b"b", "load": b"f", "words": b"l"}
    tags["received_date"] = b"d"
    opened, closed = text("phone.app.opened"), text("phone.app.closed")
    half, nan, zero = struct.pack(">d", 0.5), bytes.fromhex("7ff8000000000000"), struct.pack(">d", -0.0)
    time = 1_795_377_600_500_000
    rows = {
        1: [
            {"event": opened, "time": time, "batch": 1, "decision": 2, "charging": 1, "load": half},
            {"event": closed, "time": time + 70_000, "batch": 1, "decision": 2, "charging": 0, "load": nan},
            {"event": opened, "time": time + 1_000, "batch": 2, "decision": 2, "load": zero},
        ],
        2: [{"event": closed, "decision": -1}],
        3: [{"event": opened, "decision": 0, "words": struct.pack(">I", 2) + b"s" + text("ä") + b"n"}],
    }
    leaves = []
    for subject, its in rows.items():
        name = f"{subject:032x}".encode()
        blind = hmac.new(secret, name, hashlib.sha256).digest()
        said = content(its, tags, 20_779)
        salted = sha(salt + name)
        entry = salted + hmac.new(blind, said, hashlib.sha256).digest()
        leaves.append({"subject": subject, "content": said, "blind": blind, "entry": entry, "hash": sha(b"\0" + entry)})
    leaves.sort(key=lambda leaf: leaf["entry"])
    hashes = [leaf["hash"] for leaf in leaves]
    root = sha(b"candor/file/v1\n" + salt + struct.pack(">Q", 3) + tree(hashes))

    # Of the subject of the middle leaf, and of one that would stand between it and the last.
    head = struct.pack(">Q", 3) + salt
    present = b"\1" + head + struct.pack(">Q", 1) + leaves[1]["entry"][32:] + hashes[0] + hashes[2]
    missing = sha(salt + f"{ABSENT:032x}".encode())
    assert leaves[1]["entry"][:32] < missing < leaves[2]["entry"][:32]
    absent = b"\2" + head + struct.pack(">Q", 2) + leaves[1]["entry"] + leaves[2]["entry"] + hashes[0]
    return {
        "leaves": [
            {name: value.hex() if isinstance(value, bytes) else value for name, value in leaf.items()} for leaf in leaves
        ],
        "root": root.hex(),
        "present": url(present),
        "absent": url(absent),
    }


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


def main():
    key = Ed25519PrivateKey.from_private_bytes(subject_key(0))
    encoded = rows()
    vectors = {
        "identity": [identity(0), identity(1)],
        "spool": hkdf(SEED, b"candor/spool/v1").hex(),
        "request": request(key),
        "statement": statement(key),
        "rows": encoded,
        "sealed": sealed(),
        "receipts": receipts(identity(0)["subject"], encoded["hash"]),
    }
    print(json.dumps(vectors, indent=2, ensure_ascii=False))


main()
