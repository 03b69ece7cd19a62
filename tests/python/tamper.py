"""Changes each byte of a bundle, of the checkpoint and the tiles of a log, and of a sealed file, in turn: docs/verify.py must find each.

    python tamper.py VERIFY.PY BUNDLE DATA START

Each change goes through the function that docs/verify.py calls for such a file. Making the rows of a sealed file anew takes long: every
byte is held against the digest that the log has, and each seventh, from START on, through everything; with CANDOR_TEST_EVERY_BYTE each.
"""

import importlib.util
import os
import pathlib
import sys

STRIDE = 1 if os.environ.get("CANDOR_TEST_EVERY_BYTE") else 7


def finds(check):
    try:
        check()
    except Exception:  # noqa: BLE001: whatever is said of it, it is not passed over
        return True
    return False


def each_change(path, start=0, step=1):
    """The bytes of a file, each changed in turn."""
    whole = path.read_bytes()
    for at in range(start, len(whole), step):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        yield at, bytes(changed)


def changes(path, check):
    """Each change of a file, as `check` finds it when it is handed the bytes."""
    check(path.read_bytes())
    count = 0
    for at, changed in each_change(path):
        assert finds(lambda: check(changed)), f"byte {at} of {path} was passed over"
        count += 1
    return count


def changes_on_disk(path, check, start=0, step=1):
    """The same where `check` reads the file itself."""
    whole, count = path.read_bytes(), 0
    check()
    for at, changed in each_change(path, start, step):
        path.write_bytes(changed)
        assert finds(check), f"byte {at} of {path} was passed over"
        count += 1
    path.write_bytes(whole)
    return count


def of_bundle(verify, bundle):
    manifest = verify.read_manifest((bundle / "bundle.json").read_bytes())
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "bundle.json")
    count = changes(bundle / "bundle.json", verify.read_manifest)
    for path in files:
        name = path.relative_to(bundle).as_posix()
        count += changes(path, lambda data: verify.as_written(manifest, name, data))
        count += changes_on_disk(path, lambda: verify.read_bundle(bundle), 0, path.stat().st_size // 3)
    wrong = []
    verify.check_bundle(bundle, None, lambda what, why: wrong.extend([f"{what}: {why}"] if why else []))
    assert not wrong, wrong
    return count


def of_log(verify, log, entries):
    vkey = verify.key_of([verify.jcs(entry) for entry in entries])

    def tiles():
        verify.check_tiles(log, [verify.jcs(entry) for entry in entries])

    count = changes(log / "checkpoint", lambda note: verify.checkpoint(note.decode(), vkey))
    return count + sum(changes_on_disk(path, tiles) for path in sorted((log / "tile").rglob("*")) if path.is_file())


def of_sealed_file(verify, data, entries, start):
    live = verify.live_files(entries).values()
    entry = min(live, key=lambda entry: entry["size"])
    path = data / "tables" / entry["table"] / entry["path"]

    def digest(data):
        assert not verify.differs({"file": verify.sha(data).hex()}, entry)

    def everything():
        assert not verify.differs(verify.check_file(path), entry)

    return changes(path, digest), changes_on_disk(path, everything, start % STRIDE, STRIDE)


def main():
    spec = importlib.util.spec_from_file_location("verify", sys.argv[1])
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    bundle, data, start = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), int(sys.argv[4])
    entries = verify.read_log(data / "log")
    figures = of_bundle(verify, bundle), of_log(verify, data / "log", entries)
    digests, files = of_sealed_file(verify, data, entries, start)
    print(f"docs/verify.py: {figures[0]} changes of a bundle, {figures[1]} of a log, {digests} of a sealed file, each found")
    print(f"docs/verify.py: {files} of them in a file whose rows were made anew, every {STRIDE} from {start % STRIDE} on")


if __name__ == "__main__":
    main()
