"""Changes each byte of a bundle, and of the checkpoint and the tiles of a log, in turn: docs/verify.py must find each.

    python tamper.py VERIFY.PY BUNDLE LOG
"""

import importlib.util
import pathlib
import sys


def finds(check):
    try:
        check()
    except Exception:  # noqa: BLE001: whatever is said of it, it is not passed over
        return True
    return False


def changes(path, check, step=1):
    whole, count = path.read_bytes(), 0
    for at in range(0, len(whole), step):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        assert finds(check), f"byte {at} of {path} was passed over"
        count += 1
    path.write_bytes(whole)
    return count


def main():
    spec = importlib.util.spec_from_file_location("verify", sys.argv[1])
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    bundle, log = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    entries = verify.read_log(log)
    vkey = verify.key_of([verify.jcs(entry) for entry in entries])

    def tiles():
        verify.check_tiles(log, [verify.jcs(entry) for entry in entries])

    def note():
        verify.checkpoint((log / "checkpoint").read_bytes().decode(), vkey)

    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    # Every file of a bundle is held against a digest: of the large ones, each seventh byte is time enough.
    of_bundle = sum(changes(path, lambda: verify.read_bundle(bundle), 7 if path.stat().st_size > 4096 else 1) for path in files)
    of_log = changes(log / "checkpoint", note)
    of_log += sum(changes(path, tiles) for path in sorted((log / "tile").rglob("*")) if path.is_file())
    wrong = []
    verify.check_bundle(bundle, None, lambda what, why: wrong.extend([f"{what}: {why}"] if why else []))
    assert not wrong, wrong
    print(f"docs/verify.py: {of_bundle} changes of a bundle and {of_log} of a log, each found")


if __name__ == "__main__":
    main()
