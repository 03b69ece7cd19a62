"""Computes the vectors of docs/FORMAT.md (identity to rows, the log) anew, with nothing of ours: hashlib, hmac and `cryptography`.

`python tests/python/vectors.py` prints them as JSON. `tests/vectors.rs` holds the page to them, `ingest/wire/tests/vectors.rs` the Rust code to the page.
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
ABSENT = 9


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
    return signed_statement(key, content)


def signed_statement(key, content):
    text = jcs(content)
    signature = url(key.sign(b"candor/statement/v1\n" + text.encode()))
    return {"content": text, "hash": sha(text.encode()).hex(), "signature": signature}


def kept_statement(key, previous):
    """A statement as the ledger and the access answer have it, and what was signed made of it."""
    terms = {
        "age_from": 12,
        "notice": {"language": "de", "version": "2026-01"},
        "previous": previous,
        "purposes": {"analytics": "withdrawn", "marketing": "refused"},
        "sequence": 4294967298,
    }
    own = {"closes": True, "fleet": FLEET, "key": url(public(key))}
    signed = signed_statement(key, {**terms, **own, "guardian": True})
    kept = {
        **terms,
        "asserted_by": "guardian",
        "ledger_id": sha(public(key)).hex(),
        "received_at": "2026-11-22T20:00:00.500000Z",
        "signed": {**own, "signature": signed["signature"]},
        "source": "agents",
    }
    assert jcs(what_was_signed(kept)) == signed["content"]
    return {"kept": jcs(kept), **signed}


def what_was_signed(kept):
    # As the page says it, from the answer alone.
    content = {name: kept["signed"][name] for name in ("fleet", "key", "gpc", "closes") if name in kept["signed"]}
    terms = ("sequence", "previous", "purposes", "notice", "age_from", "expires", "granted_at")
    content |= {name: kept[name] for name in terms if name in kept}
    return content | ({"guardian": True} if kept["asserted_by"] == "guardian" else {})


def row(cells):
    return b"".join(text(name) + value for name, value in sorted(cells.items(), key=lambda cell: cell[0].encode()))


def text(value):
    return struct.pack(">I", len(value.encode())) + value.encode()


# Tag and value of each kind of cell, as a row has them.
def integer(value):
    return b"i" + struct.pack(">q", value)


def numbers(values):
    low = min(values)
    width = next(width for width in (0, 1, 2, 4, 8) if max(values) - low < 1 << 8 * width)
    return struct.pack(">q", low) + bytes([width]) + b"".join((value - low).to_bytes(width, "big") for value in values)


def number(cell):
    return cell[1] if cell[:1] == b"b" else struct.unpack(">q", cell[1:])[0]


def content(cell):
    """What a cell is ordered by, and what is hashed of a text or a list."""
    tag = cell[:1]
    return number(cell) if tag in b"bitd" else cell[5:] if tag == b"s" else cell[1:]


def stream_hashed(name, rows):
    """What is hashed of the rows of a stream; each is a dict from the name of a column to tag and value."""
    columns = sorted({column for row in rows for column in row}, key=str.encode)
    order = [column for column in columns if column == "time"] + [column for column in columns if column != "time"]
    rows = sorted(rows, key=lambda row: [(1, content(row[column])) if column in row else (0,) for column in order])
    out = text(name) + struct.pack(">QI", len(rows), len(columns))
    for column in columns:
        cells = [row[column] for row in rows if column in row]
        assert len({cell[:1] for cell in cells}) == 1, "a column has one tag"
        out += text(column) + cells[0][:1]
        if len(cells) == len(rows) and len(set(cells)) == 1:
            out += b"=" + cells[0][1:]
            continue
        if len(cells) == len(rows):
            out += b"*"
        else:
            bits = "".join(str(int(column in row)) for row in rows)
            bits += "0" * (-len(bits) % 8)
            out += b"?" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        contents = [content(cell) for cell in cells]
        if cells[0][:1] in b"bitd":
            out += numbers(contents)
        elif cells[0][:1] in b"sl":
            different = list(dict.fromkeys(contents))
            few = len(different) <= 32
            out += bytes([len(different), *map(different.index, contents)]) if few else b"\0"
            written = different if few else contents
            out += numbers([len(one) for one in written]) + b"".join(written)
        else:
            out += b"".join(contents)
    return out


def rows_hash(streams):
    hashed = (stream_hashed(name, rows) for name, rows in sorted(streams.items(), key=lambda one: one[0].encode()) if rows)
    return sha(b"candor/rows/v2\n" + b"".join(hashed))


def rows():
    day = b"d" + struct.pack(">q", 20_779)
    first = {
        "event": b"s" + text("phone.app.opened"),
        "time": b"t" + struct.pack(">q", 1_795_377_600_500_000),
        "consent_seq": integer(1),
        "decision": integer(2),
        "charging": b"b\x01",
        "load": b"f" + struct.pack(">d", -0.0),
        "heat": b"f" + bytes.fromhex("7ff8000000000000"),
        "words": b"l" + struct.pack(">I", 2) + b"s" + text("ä") + b"n",
        "received_date": day,
    }
    second = {"event": b"s" + text("phone.app.closed"), "decision": integer(-1), "received_date": day}
    phone = [first, second, second]
    return {
        "first": row(first).hex(),
        "second": row(second).hex(),
        "phone": stream_hashed("phone", phone).hex(),
        "hash": rows_hash({"phone": phone, "car": [second]}).hex(),
    }


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


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def alone(tag, cell):
    """The cell of a row that has no other beside it."""
    if tag in b"itd":
        return varint(2 * cell if cell >= 0 else -2 * cell - 1)
    return varint(len(cell) - 4) + cell[4:] if tag == b"s" else cell


def leaf_content(rows, tags, received_date):
    """Heads, and the rest."""
    rows = [{**cells, "received_date": received_date} for cells in rows]
    names = sorted({name for cells in rows for name in cells})
    head = lambda name: struct.pack(">I", len(name)) + name.encode() + tags[name]
    columns = lambda name: column(name, tags[name], [cells.get(name) for cells in rows])[len(head(name)) :]
    written = [alone(tags[name], rows[0][name]) if len(rows) == 1 else columns(name) for name in names]
    return sha(b"".join(map(head, names))), varint(len(rows)) + b"".join(written)


def sealed():
    """A file of five rows, of three subjects."""
    salt, secret = bytes([9]) * 16, bytes([10]) * 16
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
        blind, salted = sha(secret + name), sha(salt + name)[:16]
        heads, rest = leaf_content(its, tags, 20_779)
        commitment = sha(heads + heads + blind + rest)
        leaf = {"salted": salted, "commitment": commitment, "hash": sha(b"\0" + salted + commitment)}
        leaves.append({"subject": subject, "content": heads + rest, "blind": blind, **leaf})
    leaves.sort(key=lambda leaf: leaf["salted"])
    assert [leaf["subject"] for leaf in leaves] == [3, 2, 1]
    hashes = [leaf["hash"] for leaf in leaves]
    root = sha(b"candor/file/v1\n" + salt + struct.pack(">Q", 3) + root_of(hashes))

    # Of the subject of the first leaf, and of one that would stand between it and the next.
    head = struct.pack(">Q", 3) + salt
    present = b"\1" + head + struct.pack(">Q", 0) + leaves[0]["commitment"] + hashes[1] + hashes[2]
    missing = sha(salt + f"{ABSENT:032x}".encode())[:16]
    assert leaves[0]["salted"] < missing < leaves[1]["salted"]
    entries = [leaf["salted"] + leaf["commitment"] for leaf in leaves]
    absent = b"\2" + head + struct.pack(">Q", 1) + entries[0] + entries[1] + hashes[2]
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
            "checkpoint": "candor/acme-fleet\n5\n80lPsBfLlYZZBQoXH7jRdiO9vmIEJ+tNwFLD1Pd3FxE=\n",
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


def root_of(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha(b"")
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1" + root_of(leaves[:split]) + root_of(leaves[split:]))


def verifier(name, kind, key):
    raw = bytes([kind]) + public(key)
    ident = sha(name.encode() + b"\n" + raw)[:4]
    return ident, f"{name}+{ident.hex()}+{standard(raw)}"


def sealed_entry():
    digest = lambda n: (bytes([n]) * 32).hex()
    return {
        "kind": "sealed",
        "table": "analytics/phone.app",
        "path": "received_date=2026-11-28/part-00112233445566778899aabbccddeeff.parquet",
        "file": digest(1),
        "size": 4096,
        "root": digest(2),
        "rows": 10,
        "subjects": 3,
        "received_date": "2026-11-28",
        "policy": digest(3),
        "catalogue": digest(4),
    }


def log():
    origin, since = "candor/acme-fleet", 1_795_377_600_000_000
    key = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
    witness = Ed25519PrivateKey.from_private_bytes(bytes([10]) * 32)
    (ident, vkey), (seen_by, witness_vkey) = verifier(origin, 1, key), verifier("witness.example/w1", 4, witness)
    documents = [
        {"kind": "key", "use": "log", "generation": 1, "event": "created", "key": vkey, "at": since},
        {"kind": "catalogue", "digest": (bytes([4]) * 32).hex(), "since": since},
        {"kind": "policy", "digest": (bytes([3]) * 32).hex(), "since": since},
        sealed_entry(),
        {**sealed_entry(), "path": sealed_entry()["path"].replace("00112233", "ffeeddcc"), "replaces": [3], "removed": 2, "rows": 8},
    ]
    entries = [jcs(one) for one in documents]
    leaves = [sha(b"\0" + one.encode()) for one in entries]
    text = f"{origin}\n{len(leaves)}\n{standard(root_of(leaves))}\n"
    time = 1_795_377_600
    cosigned = struct.pack(">Q", time) + witness.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    lines = [(origin, ident + key.sign(text.encode())), ("witness.example/w1", seen_by + cosigned)]
    note = text + "\n" + "".join(f"\u2014 {name} {standard(signature)}\n" for name, signature in lines)
    bundle = b"".join(struct.pack(">H", len(one)) + one.encode() for one in entries)
    return {
        "vkey": vkey,
        "witness": witness_vkey,
        "entries": entries,
        "leaves": [leaf.hex() for leaf in leaves],
        "note": note,
        "bundle": sha(bundle).hex(),
        "tile": sha(b"".join(leaves)).hex(),
        "inclusion of 3": [standard(root_of(leaves[2:3])), standard(root_of(leaves[:2])), standard(leaves[4])],
        "consistency from 3": [standard(one) for one in (leaves[2], leaves[3], root_of(leaves[:2]), leaves[4])],
    }


def main():
    key = Ed25519PrivateKey.from_private_bytes(subject_key(0))
    encoded = rows()
    vectors = {
        "identity": [identity(0), identity(1)],
        "spool": hkdf(SEED, b"candor/spool/v1").hex(),
        "request": request(key),
        "statement": statement(key),
        "kept": kept_statement(key, statement(key)["hash"]),
        "rows": encoded,
        "sealed": sealed(),
        "receipts": receipts(identity(0)["subject"], encoded["hash"]),
        "totals": totals(),
        "erasure": erasure(),
        "log": log(),
    }
    print(json.dumps(vectors, indent=2, ensure_ascii=False))


main()
