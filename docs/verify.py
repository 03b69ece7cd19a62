"""Holds the files of a data folder against what they say of themselves, and against the log: with Python, pyarrow and
docs/FORMAT.md, without a line of Candor.

    python docs/verify.py FOLDER

FOLDER is a data folder (`tables/`, `log/`), or a copy of one. Each file under `tables/` is read in order; its leaves, root and counts are
made anew. Where there is a log, its tree is made anew as well, and each file that it has as live must be there, byte for byte, and no
other. Signatures are left to `candor audit verify`: Python's library has no Ed25519.

Exit code 0: all of it is so. 4: something is not. 2: it could not be looked at.
"""

import base64
import datetime
import hashlib
import hmac
import json
import math
import pathlib
import struct
import sys

BLOCK = 8192
EPOCH = datetime.date(1970, 1, 1)


class Wrong(Exception):
    """Something is not what it says."""


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


def numbers(values):
    low, most = min(values), max(values) - min(values)
    width = next(width for width in (0, 1, 2, 4, 8) if most < 1 << 8 * width)
    return struct.pack(">qB", low, width) + b"".join((value - low).to_bytes(width, "big") for value in values)


def write_column(name, kind, element, values):
    there = [value for value in values if value is not None]
    if not there:
        return b""
    head = struct.pack(">I", len(name.encode())) + name.encode() + kind
    cells = [cell(kind, element, value) for value in there]
    if len(there) == len(values) and all(one == cells[0] for one in cells):
        return head + b"=" + cells[0]
    if len(there) == len(values):
        head += b"*"
    else:
        bits = "".join("0" if value is None else "1" for value in values)
        head += b"?" + bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))
    if kind == b"f":
        return head + b"".join(cells)
    if kind in b"sl":
        cells = [one[4:] for one in cells] if kind == b"s" else cells
        return head + numbers([len(one) for one in cells]) + b"".join(cells)
    return head + numbers([int(value) for value in there])


def content(columns, count):
    """One block: `columns` are name, tag, tag of elements and values."""
    written = (write_column(*column) for column in sorted(columns, key=lambda column: column[0].encode()))
    return struct.pack(">Q", count) + b"".join(written)


# A file


def about(file):
    metadata = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}
    if metadata.get("candor.format") != "2":
        raise Wrong("it is no sealed file of format 2")
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
        self.subject, self.mac, self.rest = None, None, []

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
        salted = sha(self.salt, name)
        if salted <= self.last:
            raise Wrong("its rows are not in the order of their salted subjects")
        self.subject, self.last = subject, salted
        self.mac = hmac.new(hmac.new(self.secret, name, hashlib.sha256).digest(), b"", hashlib.sha256)

    def blocks(self, to_the_end):
        count = len(self.rest[0][3]) if self.rest else 0
        while count >= BLOCK or to_the_end and count > 0:
            taken = min(count, BLOCK)
            block = [(*column[:3], column[3][:taken]) for column in self.rest]
            self.mac.update(content([*block, (*self.date[:3], [self.date[3]] * taken)], taken))
            self.rest = [(*column[:3], column[3][taken:]) for column in self.rest]
            count -= taken

    def close(self):
        if self.subject is not None:
            self.blocks(True)
            self.tree.add(self.last + self.mac.digest())
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


# The log (c2sp.org/tlog-tiles)


def checkpoint(text):
    origin, size, root = text.split("\n\n")[0].split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


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


def read_log(log):
    """The entries up to the checkpoint, which they lead to."""
    origin, size, root = checkpoint((log / "checkpoint").read_text())
    tree, entries = Tree(), []
    for start in range(0, size, 256):
        width = min(256, size - start)
        for entry in bundle(log, start // 256, width):
            tree.add(entry)
            entries.append(json.loads(entry))
    if (tree.size, tree.root()) != (size, root):
        raise Wrong(f"{tree.size} entries do not lead to the root of {size} that the checkpoint of {origin} has")
    return entries


def live_files(entries):
    """`sealed` entries by number, less those that another took the place of, was erased or expired."""
    live, paths = {}, set()
    for number, entry in enumerate(entries):
        sealed = entry["kind"] == "sealed"
        ended = entry.get("replaces" if sealed else "files", []) if entry["kind"] in ("sealed", "erased", "expired") else []
        gone = [live.pop(old, None) for old in ended]
        if None in gone:
            raise Wrong(f"entry {number} ends a file that is not live")
        if not sealed:
            continue
        path = (entry["table"], entry["path"])
        if path in paths or any(old["table"] != entry["table"] for old in gone):
            raise Wrong(f"entry {number} seals a path again, or replaces files of another table")
        if gone and entry["rows"] != sum(old["rows"] for old in gone) - entry["removed"]:
            raise Wrong(f"entry {number} has other rows than the files that it replaces, less those removed")
        paths.add(path)
        live[number] = entry
    return live


def check_log(folder, found, report):
    try:
        live = live_files(read_log(folder / "log"))
    except (Wrong, OSError, ValueError, KeyError, struct.error) as why:
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
        differs = [what for what, value in file.items() if entry[what] != value]
        report(f"entry {number}", f"{name} has another {', '.join(differs)}" if differs else None)
    for name in sorted(set(found) - known):
        report(name, "the log does not have it as live")


def main():
    if len(sys.argv) != 2 or not (pathlib.Path(sys.argv[1]) / "tables").is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        print("pyarrow is not installed: pip install pyarrow", file=sys.stderr)
        return 2
    folder, wrong = pathlib.Path(sys.argv[1]), []

    def report(what, why):
        print(f"{'ok' if why is None else 'WRONG':5}  {what}{'' if why is None else ': ' + why}")
        wrong.extend([what] if why else [])

    found = check_tables(folder, report)
    if (folder / "log" / "checkpoint").is_file():
        check_log(folder, found, report)
    else:
        print("There is no log: files were held against themselves alone.")
    print(f"{len(found)} files, {sum(file['rows'] for file in found.values())} rows; {len(wrong)} wrong")
    return 4 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
