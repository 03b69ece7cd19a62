"""Holds the files of a data folder, or a bundle, against what they say of themselves, and against the log: with Python, pyarrow and
docs/FORMAT.md, without a line of Candor.

    python docs/verify.py FOLDER [VKEY] [--certificate FILE]... [--subject HEX]...

FOLDER is a data folder (`tables/`, `log/`), or a copy of one. Each file under `tables/` is read in order; its leaves, root and counts are
made anew. Where there is a log, its tree and its tiles are made anew as well, its checkpoint must be signed by VKEY (without one: by the
newest key that the log names of itself), and each file that it has as live must be there, byte for byte, and no other.

FOLDER may also be a bundle that `candor audit export` wrote (`bundle.json`): each file of it must be as it was written, the log as above,
policies and catalogues those of the log, and for each live file of the log the answer must have a proof that fits the rows shown. What receipts
saw of the log must be a beginning of it; what they say of rows is left to `candor audit verify`. Needs no pyarrow.

FILE is a certificate of erasure that was handed out. It must be signed by the log's key, an entry of the log must name it, the files
that it names must be gone, what it says took their place must have, and it must be about a subject of the bundle, or one with the id in
the ledger that --subject names.

Exit code 0: all of it is so. 4: something is not. 5: something could not be checked. 2: it could not be looked at.
"""

import argparse
import base64
import datetime
import hashlib
import json
import math
import pathlib
import re
import struct
import sys

BLOCK = 8192
MOST_COLUMNS = 4096
MOST_CELLS_PER_BYTE = 64
MOST_IDS = 64
EPOCH = datetime.date(1970, 1, 1)


class Wrong(Exception):
    """Something is not what it says."""


# What comes of something that is not what it says, wherever that is noticed.
BROKEN = (Wrong, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error, RecursionError)


def sha(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


# Trees (RFC 6962)


class Tree:
    """The root of leaves that come one by one."""

    def __init__(self):
        self.size = 0
        self.peaks = []

    def add(self, entry):
        node, size = sha(b"\0", entry), self.size
        while size & 1:
            node = sha(b"\1", self.peaks.pop(), node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha()
        node = self.peaks[-1]
        for left in reversed(self.peaks[:-1]):
            node = sha(b"\1", left, node)
        return node


# Content of a leaf


def tag(kind):
    from pyarrow import types

    if types.is_boolean(kind):
        return b"b"
    if types.is_int32(kind) or types.is_int64(kind):
        return b"i"
    if types.is_float64(kind):
        return b"f"
    if types.is_string(kind):
        return b"s"
    if types.is_timestamp(kind) and kind.unit == "us":
        return b"t"
    if types.is_date32(kind):
        return b"d"
    if types.is_list(kind):
        return b"l"
    raise Wrong(f"a column has the type {kind}, which no table has")


def plain(column):
    """A column's values; times and dates as numbers."""
    import pyarrow

    while pyarrow.types.is_list(column.type) and tag(column.type.value_type) in b"td":
        kind = pyarrow.int64() if tag(column.type.value_type) == b"t" else pyarrow.int32()
        column = column.cast(pyarrow.list_(kind))
    if tag(column.type) == b"t":
        column = column.cast(pyarrow.int64())
    elif tag(column.type) == b"d":
        column = column.cast(pyarrow.int32())
    return column.to_pylist()


def double(value):
    return bytes.fromhex("7ff8000000000000") if math.isnan(value) else struct.pack(">d", value)


def cell(kind, element, value):
    """A value as a row has it."""
    if kind == b"b":
        return b"\1" if value else b"\0"
    if kind == b"f":
        return double(value)
    if kind == b"s":
        text = value.encode()
        return struct.pack(">I", len(text)) + text
    if kind == b"l":
        elements = (b"n" if one is None else element + cell(element, None, one) for one in value)
        return struct.pack(">I", len(value)) + b"".join(elements)
    return struct.pack(">q", value)


def varint(number):
    """Seven bits a byte, the lowest first: as in Protocol Buffers."""
    more = b""
    while number > 0x7F:
        more, number = more + bytes([number & 0x7F | 0x80]), number >> 7
    return more + bytes([number])


def short(kind, element, value):
    """The value of a row alone."""
    if kind == b"s":
        text = value.encode()
        return varint(len(text)) + text
    if kind in b"itd":
        return varint(2 * value if value >= 0 else -2 * value - 1)
    return cell(kind, element, value)


def numbers(values):
    low, most = min(values), max(values) - min(values)
    width = next(width for width in (0, 1, 2, 4, 8) if most < 1 << 8 * width)
    return struct.pack(">qB", low, width) + b"".join((value - low).to_bytes(width, "big") for value in values)


def write_column(kind, element, values):
    there = [value for value in values if value is not None]
    cells = [cell(kind, element, value) for value in there]
    if len(there) == len(values) and all(one == cells[0] for one in cells):
        return b"=" + cells[0]
    if len(there) == len(values):
        form = b"*"
    else:
        bits = "".join("0" if value is None else "1" for value in values)
        form = b"?" + bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))
    if kind == b"f":
        return form + b"".join(cells)
    if kind in b"sl":
        cells = [one[4:] for one in cells] if kind == b"s" else cells
        return form + numbers([len(one) for one in cells]) + b"".join(cells)
    return form + numbers([int(value) for value in there])


def content(columns, count):
    """One block: `columns` are name, tag, tag of elements and values."""
    columns = sorted((name.encode(), *column) for name, *column in columns if any(value is not None for value in column[-1]))
    heads = (struct.pack(">I", len(name)) + name + kind for name, kind, _, _ in columns)
    if count == 1:
        written = [short(kind, element, values[0]) for _, kind, element, values in columns]
    else:
        written = [write_column(*column) for _, *column in columns]
    return sha(*heads) + varint(count) + b"".join(written)


def commitment(blind, content):
    """What a leaf begins to be hashed with: the heads of its first block, twice."""
    return hashlib.sha256(content[:32] * 2 + blind + content[32:])


# Signatures (RFC 8032), as short as they can be written: for checking, where time and secrets do not matter

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or x == 0 and sign:
        return None
    return P - x if x & 1 != sign else x


def point_add(one, two):
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c, d = 2 * one[3] * two[3] * D % P, 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_times(number, point):
    sum_ = (0, 1, 1, 0)
    while number:
        if number & 1:
            sum_ = point_add(sum_, point)
        point, number = point_add(point, point), number >> 1
    return sum_


def point_of(encoded):
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = None if y >= P else x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE = (x_of(4 * pow(5, P - 2, P) % P, 0), 4 * pow(5, P - 2, P) % P)
BASE = (*BASE, 1, BASE[0] * BASE[1] % P)


def is_signed(key, message, signature):
    """Whether an Ed25519 key signed a message."""
    a, r = (point_of(key), point_of(signature[:32])) if len(key) == 32 and len(signature) == 64 else (None, None)
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or point_times(8, a)[0] % P == 0:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = point_times(s, BASE), point_add(r, point_times(h, a))
    same = lambda at: (left[at] * right[2] - right[at] * left[2]) % P == 0
    return same(0) and same(1)


def strict_base64(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Wrong("base64 that could be written otherwise")
    return data


def base64url(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise Wrong("base64url that could be written otherwise")
    return data


def jcs(value):
    """RFC 8785 JSON of what manifests and entries have: no fractions, names that are ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def document(raw, members, optional=()):
    """A JSON object that is written as RFC 8785 says, with these members."""
    value = json.loads(raw)
    if jcs(value) != raw:
        raise Wrong("it is not written as RFC 8785 says")
    return has(value, members, optional)


def has(value, members, optional=()):
    if not isinstance(value, dict) or not set(members) <= set(value) <= {*members, *optional}:
        raise Wrong("it has other fields than it should")
    return value


def must(what, holds):
    if not holds:
        raise Wrong(f"its `{what}` cannot be that")


NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
MOST = 1 << 53


def is_hex(text, size):
    return isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text) is not None


def is_name(text):
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def is_number(value, low):
    return type(value) is int and low <= value < MOST


def is_day(text):
    return isinstance(text, str) and datetime.date.fromisoformat(text).isoformat() == text


# A file


def about(file):
    metadata = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}
    if metadata.get("candor.format") != "5":
        raise Wrong("it is no sealed file of format 5")
    return metadata


def runs(subjects):
    start = 0
    for end in range(1, len(subjects) + 1):
        if end == len(subjects) or subjects[end] != subjects[start]:
            yield start, end
            start = end


class Sealing:
    """Leaves of rows that come in the order of the file, row group by row group."""

    def __init__(self, salt, secret, received_date):
        self.salt, self.secret = salt, secret
        self.date = ("received_date", b"d", None, (received_date - EPOCH).days)
        self.tree, self.rows, self.last = Tree(), 0, b""
        self.subject, self.commitment, self.rest = None, None, []

    def add(self, table):
        columns = []
        for name in table.column_names:
            if name == "received_date":
                raise Wrong("a column has the name of the partition")
            column = table.column(name).combine_chunks()
            element = tag(column.type.value_type) if tag(column.type) == b"l" else None
            columns.append((name, tag(column.type), element, plain(column)))
        subjects = next(values for name, _, _, values in columns if name == "subject")
        columns = [column for column in columns if column[0] != "subject"]
        if len({name for name, _, _, _ in columns}) < len(columns) or None in subjects:
            raise Wrong("two columns have one name, or a row has no subject")
        self.rows += len(subjects)
        for start, end in runs(subjects):
            if subjects[start] != self.subject:
                self.close()
                self.open(subjects[start])
            part = [(name, kind, element, values[start:end]) for name, kind, element, values in columns]
            self.rest = [(*old[:3], old[3] + new[3]) for old, new in zip(self.rest, part)] if self.rest else part
            self.blocks(False)

    def open(self, subject):
        name = subject.encode()
        salted = sha(self.salt, name)[:16]
        if salted <= self.last:
            raise Wrong("its rows are not in the order of their salted subjects")
        self.subject, self.last = subject, salted
        self.blind, self.commitment = sha(self.secret, name), None

    def blocks(self, to_the_end):
        count = len(self.rest[0][3]) if self.rest else 0
        while count >= BLOCK or to_the_end and count > 0:
            taken = min(count, BLOCK)
            block = [(*column[:3], column[3][:taken]) for column in self.rest]
            written = content([*block, (*self.date[:3], [self.date[3]] * taken)], taken)
            if self.commitment is None:
                self.commitment = commitment(self.blind, written)
            else:
                self.commitment.update(written)
            self.rest = [(*column[:3], column[3][taken:]) for column in self.rest]
            count -= taken

    def close(self):
        if self.subject is not None:
            self.blocks(True)
            self.tree.add(self.last + self.commitment.digest())
        self.subject, self.rest = None, []

    def root(self):
        return sha(b"candor/file/v1\n", self.salt, struct.pack(">Q", self.tree.size), self.tree.root())


def check_file(path):
    """What a file is, after it was held against its metadata."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        said = about(file)
        date = datetime.date.fromisoformat(said["candor.received_date"])
        sealing = Sealing(bytes.fromhex(said["candor.salt"]), bytes.fromhex(said["candor.secret"]), date)
        for group in range(file.metadata.num_row_groups):
            sealing.add(file.read_row_group(group))
    sealing.close()
    found = {"rows": sealing.rows, "subjects": sealing.tree.size, "root": sealing.root().hex()}
    for what, value in found.items():
        if said[f"candor.{what}"] != str(value):
            raise Wrong(f"its metadata says {what} {said[f'candor.{what}']}, its rows {value}")
    if path.parent.name != f"received_date={date}":
        raise Wrong("it lies in the folder of another day")
    if "/".join(path.parts[-4:-2]) != f"{said['candor.purpose']}/{said['candor.stream']}":
        raise Wrong("it lies in the folder of another table")
    found |= {name: said[f"candor.{name}"] for name in ("received_date", "policy", "catalogue")}
    with open(path, "rb") as opened:
        found["file"] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found | {"size": path.stat().st_size}


def check_tables(folder, report):
    """What every file is, by its name under `tables/`; those that are not what they say are left out."""
    found = {}
    for path in sorted((folder / "tables").glob("*/*/received_date=*/*.parquet")):
        name = path.relative_to(folder / "tables").as_posix()
        try:
            found[name] = check_file(path)
            report(name, None)
        except Exception as why:  # noqa: BLE001: whatever is wrong with a file, the others are looked at
            report(name, str(why) or type(why).__name__)
    return found


# What a log may say (docs/FORMAT.md, "The log")


def is_part(text):
    return is_name(text) and not text.startswith(".")


def is_table(text):
    return isinstance(text, str) and text.count("/") == 1 and all(is_part(part) for part in text.split("/"))


def is_instant(value):
    return is_number(value, 1 - MOST)


def are_ascending(numbers):
    whole = isinstance(numbers, list) and all(is_number(number, 0) for number in numbers)
    return whole and all(one < two for one, two in zip(numbers, numbers[1:]))


def check_sealed(entry):
    for name in ("file", "root", "policy", "catalogue"):
        must(name, is_hex(entry[name], 32))
    must("table", is_table(entry["table"]))
    must("received_date", is_day(entry["received_date"]))
    folder, _, name = entry["path"].partition("/")
    must("path", folder == f"received_date={entry['received_date']}" and is_part(name) and name.endswith(".parquet"))
    must("replaces", "replaces" not in entry or entry["replaces"] and are_ascending(entry["replaces"]))
    must("removed", ("removed" in entry) == ("replaces" in entry) and is_number(entry.get("removed", 0), 0))
    must("size", is_number(entry["size"], 0))
    must("rows", is_number(entry["rows"], 0))
    must("subjects", is_number(entry["subjects"], 0) and entry["subjects"] <= entry["rows"])


def check_document(entry):
    must("digest", is_hex(entry["digest"], 32))
    must("since", is_instant(entry["since"]))


def check_key(entry):
    use, public = entry["use"], entry["use"] in ("log", "receipts")
    must("use", public or use in ("subject", "ledger") or use.startswith("named/") and is_part(use[len("named/") :]))
    must("key", ("key" in entry) == public and len(entry.get("key", "").encode()) <= 510)
    must("generation", is_number(entry["generation"], 1))
    must("event", entry["event"] in ("created", "rotated", "destroyed"))
    must("at", is_instant(entry["at"]))


def check_totals(entry):
    must("epoch", is_number(entry["epoch"], 0))
    must("part", is_number(entry["part"], 1) and is_number(entry["parts"], entry["part"]))
    must("from", is_instant(entry["from"]) and is_instant(entry["to"]))
    must("hidden", is_hex(entry["hidden"], 32))
    tree = has(entry["receipts"], ("root", "size"))
    must("receipts", is_hex(tree["root"], 32) and is_number(tree["size"], 0))
    must("cells", isinstance(entry["cells"], list))
    before = ("", "", "")
    for cell in entry["cells"]:
        has(cell, ("source", "stream", "purpose", "dropped", "offered", "stored"))
        must("purpose", is_part(cell["purpose"]) and is_part(cell["source"]))
        must("stream", cell["stream"] == "" or is_part(cell["stream"]))
        must("dropped", isinstance(cell["dropped"], dict) and all(is_part(reason) for reason in cell["dropped"]))
        must("dropped", all(is_number(count, 0) for count in cell["dropped"].values()))
        must("offered", is_number(cell["offered"], 0) and is_number(cell["stored"], 0))
        must("offered", cell["offered"] == cell["stored"] + sum(cell["dropped"].values()))
        must("cells", before < (cell["source"], cell["stream"], cell["purpose"]))
        before = (cell["source"], cell["stream"], cell["purpose"])


def check_consents(entry):
    must("epoch", is_number(entry["epoch"], 0))
    must("root", is_hex(entry["root"], 32))
    must("size", is_number(entry["size"], 0))


def check_erased(entry):
    certificates = entry["certificates"]
    must("certificates", isinstance(certificates, list) and all(is_hex(digest, 32) for digest in certificates))
    must("files", are_ascending(entry["files"]))
    must("replaced", are_ascending(entry["replaced"]))
    must("removed", is_number(entry["removed"], 0))


def check_expired(entry):
    must("table", is_table(entry["table"]))
    must("before", is_day(entry["before"]))
    must("field", "field" not in entry or is_part(entry["field"]))
    must("files", are_ascending(entry["files"]))
    must("removed", is_number(entry["removed"], 0))


# By kind: the members of an entry, those that may be left out, and what says whether their values can be.
ENTRIES = {
    "sealed": (
        ("table", "path", "file", "size", "root", "rows", "subjects", "received_date", "policy", "catalogue"),
        ("replaces", "removed"),
        check_sealed,
    ),
    "policy": (("digest", "since"), (), check_document),
    "catalogue": (("digest", "since"), (), check_document),
    "key": (("use", "generation", "event", "at"), ("key",), check_key),
    "totals": (("epoch", "part", "parts", "from", "to", "cells", "hidden", "receipts"), (), check_totals),
    "consents": (("epoch", "root", "size"), (), check_consents),
    "erased": (("certificates", "files", "replaced", "removed"), (), check_erased),
    "expired": (("table", "before", "files", "removed"), ("field",), check_expired),
}


def read_entry(raw):
    """An entry of a log, exactly as it is written; each field has a value that it can have."""
    if len(raw) > 65_535:
        raise Wrong("it has more than 65,535 bytes")
    entry = json.loads(raw)
    members, optional, check = ENTRIES[entry["kind"]]
    check(document(raw, ("kind", *members), optional))
    return entry


RULES = {
    1: "a path of a table is sealed once",
    2: "the policy and the catalogue of a file are in the log before it",
    3: "what an entry takes away is an earlier file that is live",
    4: "a file replaces files of its own table",
    5: "and of its own date, policy and catalogue",
    6: "it has the rows of those that it replaces, less the rows removed",
    7: "an entry counts the rows that it says are gone",
    8: "an erasure names files that replaced others",
    9: "what expired is of its table and of an earlier date than the entry says",
    10: "a document that comes into force is another than the one before it",
    11: "a key is created once, its generations grow, and each is destroyed once",
    12: "epochs follow each other",
}


def rule(number, holds):
    if not holds:
        raise Wrong(f"it breaks rule {number}: {RULES[number]}")


class Life:
    """A log read from its beginning: what is live, and whether each entry goes with those before it."""

    def __init__(self):
        self.live, self.paths, self.removed = {}, set(), {}
        self.documents, self.keys, self.epochs = {"policy": [], "catalogue": []}, {}, {}

    def take(self, number, entry):
        kind = entry["kind"]
        if kind == "sealed":
            self.seal(number, entry)
        elif kind in self.documents:
            rule(10, self.documents[kind][-1:] != [entry["digest"]])
            self.documents[kind].append(entry["digest"])
        elif kind == "key":
            self.key(entry)
        elif kind in ("totals", "consents"):
            self.epoch(kind, entry)
        elif kind == "erased":
            rule(8, all(successor in self.removed for successor in entry["replaced"]))
            gone = sum(old["rows"] for old in self.end(entry["files"]))
            rule(7, entry["removed"] == gone + sum(self.removed.pop(successor) for successor in entry["replaced"]))
        elif kind == "expired":
            gone = self.end(entry["files"])
            rule(9, all(old["table"] == entry["table"] and old["received_date"] < entry["before"] for old in gone))
            # Rows that went out of files which were rewritten count too.
            rule(7, entry["removed"] >= sum(old["rows"] for old in gone))

    def end(self, numbers):
        """Files that are live until now."""
        rule(3, all(number in self.live for number in numbers))
        return [self.live.pop(number) for number in numbers]

    def seal(self, number, entry):
        path = (entry["table"], entry["path"])
        rule(1, path not in self.paths)
        rule(2, all(entry[kind] in documents for kind, documents in self.documents.items()))
        if "replaces" in entry:
            gone = self.end(entry["replaces"])
            rule(4, all(old["table"] == entry["table"] for old in gone))
            unit = ("received_date", "policy", "catalogue")
            rule(5, all(old[name] == entry[name] for old in gone for name in unit))
            rule(6, entry["rows"] == sum(old["rows"] for old in gone) - entry["removed"])
            self.removed[number] = entry["removed"]
        self.paths.add(path)
        self.live[number] = entry

    def key(self, entry):
        """Of each use the newest generation, and those that are destroyed."""
        newest, destroyed = self.keys.get(entry["use"], (0, set()))
        generation = entry["generation"]
        if entry["event"] == "destroyed":
            rule(11, generation <= newest and generation not in destroyed)
            destroyed.add(generation)
        else:
            rule(11, (newest == 0) == (entry["event"] == "created") and newest < generation)
            self.keys[entry["use"]] = (generation, destroyed)

    def epoch(self, kind, entry):
        """Parts of one epoch follow each other, and agree in all but their cells and times."""
        last = self.epochs.get(kind)
        if kind == "totals" and last and last["part"] < last["parts"]:
            rule(12, entry["part"] == last["part"] + 1)
            rule(12, all(entry[name] == last[name] for name in ("epoch", "parts", "hidden", "receipts")))
        else:
            rule(12, entry.get("part", 1) == 1 and (last is None or last["epoch"] < entry["epoch"]))
        self.epochs[kind] = entry


def live_files(entries):
    """`sealed` entries by number, less those that another took the place of, was erased or expired; the rules hold."""
    life = Life()
    for number, entry in enumerate(entries):
        try:
            life.take(number, entry)
        except Wrong as why:
            raise Wrong(f"entry {number}: {why}") from None
    return life.live


# The log (c2sp.org/tlog-tiles)


def checkpoint(note, vkey):
    """Origin, size and root of a note that the holder of a verifier key signed."""
    text, _, signatures = note.partition("\n\n")
    lines = text.split("\n")
    origin, size, root = lines[0], lines[1], strict_base64(lines[2])
    if len(lines) != 3 or str(int(size)) != size or len(root) != 32 or not note.endswith("\n"):
        raise Wrong("its checkpoint is not written as checkpoints are")
    name, key_id, key = vkey.split("+", 2)
    key = strict_base64(key)
    if hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] != key_id or key[:1] != b"\1" or name != origin:
        raise Wrong("the verifier key is not one of this log")
    signed = False
    for line in signatures.removesuffix("\n").split("\n"):
        dash, by, signature = line.split(" ")
        signature = strict_base64(signature)
        if dash == "\u2014" and by == name and signature[:4].hex() == key_id:
            if not is_signed(key[1:], (text + "\n").encode(), signature[4:]):
                raise Wrong("the signature of its checkpoint does not hold")
            signed = True
    if not signed:
        raise Wrong("its checkpoint is not signed by the key that is known")
    return origin, int(size), root


def key_of(entries):
    """The newest verifier key that the log names of itself."""
    said = [json.loads(entry) for entry in entries]
    keys = [one["key"] for one in said if one["kind"] == "key" and one["use"] == "log" and one["event"] != "destroyed"]
    if not keys:
        raise Wrong("none of its entries names a key of the log")
    return keys[-1]


def check_entries(note, entries, vkey):
    """The entries, which must be those of a signed checkpoint; what they say."""
    origin, size, root = checkpoint(note, vkey or key_of(entries))
    tree = Tree()
    for entry in entries[:size]:
        tree.add(entry)
    if (tree.size, tree.root()) != (size, root) or len(entries) != size:
        raise Wrong(f"{len(entries)} entries do not lead to the root of {size} that the checkpoint of {origin} has")
    return read_entries(entries)


def read_entries(entries):
    said = []
    for number, raw in enumerate(entries):
        try:
            said.append(read_entry(raw))
        except BROKEN as why:
            raise Wrong(f"entry {number}: {why or type(why).__name__}") from None
    return said


def bundle_path(number, width):
    parts = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        parts.insert(0, f"x{number % 1000:03}")
    name = "/".join(parts)
    return name if width == 256 else f"{name}.p/{width}"


def bundle(log, number, width):
    """The entries of a bundle: the full one serves for a part of it."""
    for name in dict.fromkeys([bundle_path(number, width), bundle_path(number, 256)]):
        path = log / "tile" / "entries" / name
        if path.is_file():
            data, at, entries = path.read_bytes(), 0, []
            while at < len(data) and len(entries) < width:
                (length,) = struct.unpack_from(">H", data, at)
                entries.append(data[at + 2 : at + 2 + length])
                at += 2 + length
            return entries
    raise Wrong(f"bundle {number} of its entries is missing")


def root_of(hashes):
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2])
        hashes = [sha(b"\1", left, right) for left, right in pairs] + (hashes[-1:] if len(hashes) % 2 else [])
    return hashes[0] if hashes else sha()


def check_tiles(log, entries):
    """Every tile and bundle that is there, of whatever width, is what the entries make it; how many are."""
    levels = [[sha(b"\0", entry) for entry in entries]]
    while len(levels[-1]) >= 256:
        level = levels[-1]
        levels.append([root_of(level[at : at + 256]) for at in range(0, len(level) - 255, 256)])
    seen = 0
    for path in sorted(path for path in (log / "tile").rglob("*") if path.is_file()):
        level, *rest = path.relative_to(log / "tile").parts
        width = int(rest.pop()) if len(rest) > 1 and rest[-2].endswith(".p") else 256
        number = int("".join(part.removeprefix("x").removesuffix(".p") for part in rest))
        every = entries if level == "entries" else levels[int(level)]
        part = every[number * 256 : number * 256 + width]
        head = (lambda one: struct.pack(">H", len(one))) if level == "entries" else (lambda one: b"")
        if len(part) != width or path.read_bytes() != b"".join(head(one) + one for one in part):
            raise Wrong(f"{path.relative_to(log)} is not what its entries make it")
        seen += 1
    return seen


def read_log(log, vkey=None):
    """The entries up to the checkpoint, which is signed and to which they lead."""
    note = (log / "checkpoint").read_bytes().decode()
    size = int(note.split("\n")[1])
    entries = []
    for start in range(0, size, 256):
        entries.extend(bundle(log, start // 256, min(256, size - start)))
    said = check_entries(note, entries, vkey)
    check_tiles(log, entries)
    return said


def differs(file, entry):
    """What is another in a file than its `sealed` entry says."""
    return [what for what, value in file.items() if entry[what] != value]


def check_log(folder, found, report, vkey, certificates=(), subjects=()):
    try:
        said = read_log(folder / "log", vkey)
        live = live_files(said)
    except BROKEN as why:
        report("log", str(why))
        return
    report("log", None)
    known = set()
    for number, entry in live.items():
        name = f"{entry['table']}/{entry['path']}"
        known.add(name)
        file = found.get(name)
        if file is None:
            report(f"entry {number}", f"{name} is missing, or not what it says")
            continue
        others = differs(file, entry)
        report(f"entry {number}", f"{name} has another {', '.join(others)}" if others else None)
    for name in sorted(set(found) - known):
        report(name, "the log does not have it as live")
    check_certificates(certificates, keys_of(said, vkey), said, subjects, report)


# A bundle


def read_manifest(raw):
    """The manifest of a bundle, exactly as it was written."""
    manifest = json.loads(raw)
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    if jcs(manifest) != raw or (manifest["kind"], manifest["version"]) != ("bundle", 1):
        raise Wrong("bundle.json is not written as manifests are")
    if sha(jcs(rest)).hex() != manifest["digest"]:
        raise Wrong("bundle.json is not as it was written")
    return manifest


def read_bundle(folder):
    """The manifest of a bundle and its files, each as it was written."""
    manifest = read_manifest((folder / "bundle.json").read_bytes())
    files = {}
    for name in manifest["files"]:
        if name.startswith("/") or ".." in name.split("/"):
            raise Wrong("bundle.json names a file outside the bundle")
        files[name] = as_written(manifest, name, (folder / name).read_bytes())
    return manifest, files


def as_written(manifest, name, data):
    """A file of a bundle, which must be the one that the manifest names."""
    if sha(data).hex() != manifest["files"][name]:
        raise Wrong(f"{name} is not as it was written")
    return data


def read_cells(row):
    """Cells of a row in canonical encoding: name, tag, tag of elements, value."""
    at = 0

    def take(count):
        nonlocal at
        at += count
        if at > len(row):
            raise Wrong("a row is not in canonical encoding")
        return row[at - count : at]

    def value(kind, in_list=False):
        if kind == b"b":
            return take(1) == b"\1"
        if kind == b"s":
            return take(struct.unpack(">I", take(4))[0]).decode()
        if kind == b"f":
            return struct.unpack(">d", take(8))[0]
        if kind == b"l":
            if in_list:
                raise Wrong("a row has a list in a list")
            kinds, values = set(), []
            for _ in range(struct.unpack(">I", take(4))[0]):
                of = take(1)
                values.append(None if of == b"n" else value(of, in_list=True))
                kinds |= {of} - {b"n"}
            elements.append(kinds.pop() if kinds else None)
            return values
        return struct.unpack(">q", take(8))[0]

    cells = {}
    while at < len(row):
        name = take(struct.unpack(">I", take(4))[0]).decode()
        kind, elements = take(1), []
        read = value(kind)
        cells[name] = (kind, elements[0] if elements else None, read)
    return cells


def leaf_content(rows):
    """Content of a leaf with these rows of an answer, in the order of the file."""
    out = b""
    for start in range(0, len(rows), BLOCK):
        encoded = [base64url(row["row"]) for row in rows[start : start + BLOCK]]
        block = [read_cells(row) for row in encoded]
        for cells, row in zip(block, rows[start:]):
            if row.get("batch") is not None:
                cells["batch"] = (b"i", None, row["batch"])
        names, columns = sorted({name for cells in block for name in cells}), []
        # Rows may name columns of their own: what they make is within bounds before it is made.
        if len(names) > MOST_COLUMNS or len(names) * len(block) > MOST_CELLS_PER_BYTE * sum(map(len, encoded)):
            raise Wrong("rows of one file have more columns than a file has")
        for name in names:
            kinds = {cells[name][0] for cells in block if name in cells}
            element = next((cells[name][1] for cells in block if name in cells and cells[name][1]), None)
            if len(kinds) != 1:
                raise Wrong("rows of one file have a column of two types")
            columns.append((name, kinds.pop(), element, [cells[name][2] if name in cells else None for cells in block]))
        out += content(columns, len(block))
    return out


def range_root(first, leaves, size, beside):
    """The root that neighbours lead to with the hashes of the subtrees beside them."""
    leaves, beside = list(leaves), list(beside)
    end = first + len(leaves)

    def of(low, high):
        if high <= first or end <= low:
            return beside.pop(0)
        if high - low == 1:
            return leaves.pop(0)
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        left = of(low, middle)
        return sha(b"\1", left, of(middle, high))

    root = of(0, size)
    if leaves or beside:
        raise Wrong("a proof has more hashes than it needs")
    return root


def check_proof(proof, root, subjects, subject, blind, rows):
    """A file with this root has these rows of a subject, or none."""
    kind, (size,), salt = proof[:1], struct.unpack(">Q", proof[1:9]), proof[9:25]
    (place,), rest = struct.unpack(">Q", proof[25:33]), proof[33:]
    salted = sha(salt, subject.encode())[:16]
    if size != subjects:
        raise Wrong("a proof is of a file with another number of subjects")
    if kind == b"\1" and rows:
        if commitment(blind, leaf_content(rows)).digest() != rest[:32]:
            raise Wrong("the rows shown are not those of the file")
        first, entries, rest = place, [salted + rest[:32]], rest[32:]
    elif kind == b"\2" and not rows:
        left, rest = (rest[:48], rest[48:]) if place > 0 else (None, rest)
        right, rest = (rest[:48], rest[48:]) if place < size else (None, rest)
        if left and left[:16] >= salted or right and right[:16] <= salted:
            raise Wrong("the subject would stand somewhere else in the file")
        first, entries = max(place - 1, 0), [entry for entry in (left, right) if entry]
    else:
        raise Wrong("a proof shows something else than the rows do")
    if len(rest) % 32 or any(len(entry) != 48 for entry in entries):
        raise Wrong("a proof is not written as proofs are")
    beside = [rest[at : at + 32] for at in range(0, len(rest), 32)]
    tree = range_root(first, [sha(b"\0", entry) for entry in entries], size, beside) if size else sha()
    if sha(b"candor/file/v1\n", salt, struct.pack(">Q", size), tree).hex() != root:
        raise Wrong("a proof does not lead to the root of its file")


def check_answer(answer, key, live):
    """A proof for each live file, and each row in one of them."""
    subject = sha(base64url(key)).hex() if key else answer["subject"]
    if answer["subject"] != subject:
        raise Wrong("the answer is about another subject")
    ids = [bytes.fromhex(subject)] if key else [bytes.fromhex(one) for one in answer["ids"]]
    if len(ids) > MOST_IDS:
        raise Wrong("the answer is about more ids than a subject has")
    proofs = {(file["entry"], file.get("id", 0)): file for file in answer["files"]}
    rows = {}
    for row in answer["rows"]:
        if ids and row.get("id", 0) not in range(len(ids)):
            raise Wrong("the answer has rows of an id that it is not about")
        if row["file"] is not None:
            rows.setdefault((row["file"], row.get("id", 0)), []).append(row)
    if len(proofs) != len(answer["files"]):
        raise Wrong("the answer has two proofs for one file")
    for number, entry in live.items():
        name = f"tables/{entry['table']}/{entry['path']}"
        for place, one in enumerate(ids):
            file = proofs.pop((number, place), None)
            if file is None:
                raise Wrong(f"the answer has no proof for {name}")
            in_table = sha(b"candor/table/v1", one, entry["table"].split("/")[0].encode()).hex()[:32]
            blind = base64url(file["blind"]) if file.get("blind") else b""
            mine = rows.pop((name, place), [])
            check_proof(base64url(file["proof"]), entry["root"], entry["subjects"], in_table, blind, mine)
    if proofs or rows:
        raise Wrong("the answer has a proof or rows of a file that is not live")


def check_receipts(lines, origin, entries, asked, next_batch):
    """What receipts saw is a beginning of the log, and none that the answer knows of saw more than the answer has."""
    seen, later = {}, []
    for receipt in (json.loads(line)["receipt"] for line in lines.split("\n") if line):
        if receipt.get("checkpoint") is not None:
            name, size, root, rest = receipt["checkpoint"].split("\n")
            seen.setdefault(int(size), set()).add(base64.b64decode(root))
            if name != origin or rest:
                raise Wrong(f"the receipt of batch {receipt['batch']} saw another log")
            if receipt["batch"] < next_batch and int(size) > asked:
                later.append(receipt["batch"])
    tree = Tree()
    for entry in [*entries, None]:
        if tree.size in seen and seen.pop(tree.size) != {tree.root()}:
            raise Wrong(f"receipts saw a log of {tree.size} entries that were others")
        if entry is not None:
            tree.add(entry)
    if seen:
        raise Wrong(f"receipts saw a log of {max(seen)} entries: some were taken back")
    if later:
        raise Wrong(f"the answer is older than the receipt of batch {later[0]}")


# A certificate of erasure


def check_scope(scope):
    if scope == "all":
        return
    must("scope", isinstance(scope, dict) and len(scope) == 1)
    if "purposes" in scope:
        names = scope["purposes"]
        must("purposes", isinstance(names, list) and 1 <= len(names) <= 64 and all(is_name(name) for name in names))
        must("purposes", names == sorted(set(names)))
        return
    days = has(has(scope, ["received"])["received"], (), ("from", "to"))
    must("received", days and all(is_day(day) for day in days.values()))
    must("received", days.get("from", "") <= days.get("to", "9999-12-31"))


def check_fields(certificate):
    """Each field of a certificate has a value that it can have."""
    must("kind", certificate["kind"] == "certificate")
    must("id", is_hex(certificate["id"], 16))
    must("subject", is_hex(certificate["subject"], 32))
    must("fleet", is_name(certificate["fleet"]))
    for name in ("deadline", "done_at", "requested_at"):
        must(name, is_number(certificate[name], 1 - MOST))
    check_scope(certificate["scope"])
    before, rows = ("", ""), 0
    for file in certificate["files"]:
        has(file, ("old", "removed", "table"), ("new",))
        must("old", is_hex(file["old"], 32) and is_hex(file.get("new", file["old"]), 32))
        must("table", file["table"].count("/") == 1 and all(is_name(part) for part in file["table"].split("/")))
        must("removed", is_number(file["removed"], 1))
        must("files", before < (file["table"], file["old"]))
        before, rows = (file["table"], file["old"]), rows + file["removed"]
    must("rows", is_number(certificate["rows"], 0) and certificate["rows"] == rows)
    for place in certificate["places"]:
        has(place, ("place", "state"), ("until",))
        must("place", isinstance(place["place"], str) and 1 <= len(place["place"].encode()) <= 255)
        must("place", re.search("[\\x00-\\x1f\\x7f-\\x9f]", place["place"]) is None)
        must("state", place["state"] in ("done", "due", "outside"))
        must("until", "until" not in place or place["state"] != "done" and is_number(place["until"], 1 - MOST))


def check_certificate(raw, vkeys, said, live, subjects):
    """Whether a certificate is about one of these subjects (ids in the ledger); none where nobody is known whom it could be about."""
    signed = document(raw, ("certificate", "key", "nonce", "signature"))
    fields = ("deadline", "done_at", "files", "fleet", "id", "kind", "places", "requested_at", "rows", "scope", "subject")
    certificate = has(signed["certificate"], fields)
    check_fields(certificate)
    key, text = base64url(signed["key"]), jcs(certificate)
    if key not in [strict_base64(vkey.split("+", 2)[2])[1:] for vkey in vkeys]:
        raise Wrong("it is signed by another key than the log's that is known")
    if not is_signed(key, b"candor/certificate/v1\n" + text, base64url(signed["signature"])):
        raise Wrong("its signature does not hold")
    if not any(sha(text).hex() in entry["certificates"] for entry in said if entry["kind"] == "erased"):
        raise Wrong("no entry of the log names it")
    sealed = {(entry["table"], entry["file"]): number for number, entry in enumerate(said) if entry["kind"] == "sealed"}
    successors = {old: entry for entry in said if entry["kind"] == "sealed" for old in entry.get("replaces", ())}
    gone = {}
    for file in certificate["files"]:
        old = sealed.get((file["table"], file["old"]))
        if old is None or old in live:
            raise Wrong("it names a file that was never sealed, or is live")
        new = successors.get(old)
        if (new and new["file"]) != file.get("new"):
            raise Wrong("another file took the place of one than it says, or none did")
        ended = new["file"] if new else file["old"]
        gone[ended] = gone.get(ended, 0) + file["removed"]
        if gone[ended] > (new["removed"] if new else said[old]["rows"]):
            raise Wrong("it says that more rows are gone than the log does")
    must("nonce", is_hex(signed["nonce"], 32))
    nonce = bytes.fromhex(signed["nonce"])
    digests = [sha(b"candor/certificate/v1", nonce, bytes.fromhex(subject)).hex() for subject in subjects]
    if subjects and certificate["subject"] not in digests:
        raise Wrong("it is about another subject")
    return bool(subjects)


def check_certificates(paths, vkeys, said, subjects, report):
    live = live_files(said)
    for path in paths:
        try:
            raw = path.read_bytes().removesuffix(b"\n")
            known = check_certificate(raw, vkeys, said, live, subjects)
            report(str(path), None if known else "nobody says whom it is about: name a subject", unchecked=not known)
        except BROKEN as why:
            report(str(path), str(why) or type(why).__name__)


def keys_of(entries, vkey):
    """The verifier key that is known, or those that the log names of itself."""
    keys = [e["key"] for e in entries if e["kind"] == "key" and e["use"] == "log" and e["event"] != "destroyed"]
    return [vkey] if vkey else keys


def subjects_of(manifest, files):
    """Ids in the ledger of the subjects of a bundle."""
    answer = lambda subject: json.loads(files[f"answers/{subject['name']}.json"])["subject"]
    return [sha(base64url(one["key"])).hex() if one.get("key") else answer(one) for one in manifest["subjects"]]


def check_bundle(folder, vkey, report, certificates=(), subjects=()):
    try:
        manifest, files = read_bundle(folder)
        report("bundle.json", None)
        entries = files["entries.jsonl"].split(b"\n")[:-1]
        said = check_entries(files["checkpoint"].decode(), entries, vkey)
        live = live_files(said)
        report("log", None)
        known = {entry["digest"] for entry in said if entry["kind"] in ("policy", "catalogue")}
        for name in (name for name in files if name.startswith("documents/")):
            digest = sha(files[name]).hex()
            report(name, None if name == f"documents/{digest}.json" and digest in known else "it is not one of the log")
    except BROKEN as why:
        report(str(folder), str(why) or type(why).__name__)
        return
    for subject in manifest["subjects"]:
        name = f"answers/{subject['name']}.json"
        try:
            answer = json.loads(files[name])
            origin, size, root = checkpoint(answer["checkpoint"], vkey or key_of(entries))
            tree = Tree()
            for entry in entries[:size]:
                tree.add(entry)
            if (tree.size, tree.root()) != (size, root):
                raise Wrong("it is under a checkpoint of another log")
            check_answer(answer, subject.get("key"), live if size == len(said) else live_files(said[:size]))
            # A receipt that came in after the answer may have seen more; one that the device kept was there before it asked.
            nexts = {"receipts": (answer.get("batches") or {}).get("next", 0), "kept": math.inf}
            for of, next_batch in nexts.items():
                lines = files.get(f"{of}/{subject['name']}.jsonl", b"").decode()
                check_receipts(lines, origin, entries, size, next_batch)
            changes = sum(entry["kind"] in ("sealed", "erased", "expired") for entry in said[size:])
            if subject.get("key") or answer["ids"]:
                report(name, None)
            else:
                report(name, "the answer does not say which ids it is about", unchecked=True)
            if changes:
                report(name, f"{changes} entries by which files came or went are younger than the answer", unchecked=True)
        except BROKEN as why:
            report(name, str(why) or type(why).__name__)
    if certificates:
        known = [*subjects, *subjects_of(manifest, files)]
        check_certificates(certificates, keys_of(said, vkey), said, known, report)


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("vkey", nargs="?")
    parser.add_argument("--certificate", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--subject", action="append", default=[])
    said = parser.parse_args()
    folder, vkey, of = said.folder, said.vkey, (said.certificate, said.subject)
    is_bundle = (folder / "bundle.json").is_file()
    if not is_bundle and not (folder / "tables").is_dir() or not all(is_hex(one, 32) for one in said.subject):
        print(__doc__, file=sys.stderr)
        return 2
    wrong, open_ = [], []

    def report(what, why, unchecked=False):
        word = "ok" if why is None else "OPEN" if unchecked else "WRONG"
        print(f"{word:5}  {what}{'' if why is None else ': ' + why}")
        if why is not None:
            (open_ if unchecked else wrong).append(what)

    if is_bundle:
        check_bundle(folder, vkey, report, *of)
        print(f"{len(wrong)} wrong")
        return 4 if wrong else 5 if open_ else 0
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        print("pyarrow is not installed: pip install pyarrow", file=sys.stderr)
        return 2
    found = check_tables(folder, report)
    if (folder / "log" / "checkpoint").is_file():
        check_log(folder, found, report, vkey, *of)
    else:
        print("There is no log: files were held against themselves alone.")
        for path in said.certificate:
            report(str(path), "there is no log to hold it against", unchecked=True)
    print(f"{len(found)} files, {sum(file['rows'] for file in found.values())} rows; {len(wrong)} wrong")
    return 4 if wrong else 5 if open_ else 0


if __name__ == "__main__":
    sys.exit(main())
