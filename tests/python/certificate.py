"""Changes each byte of a certificate of erasure, twice: docs/verify.py must find each.

    python certificate.py VERIFY.PY LOG CERTIFICATE SUBJECT...
"""

import importlib.util
import pathlib
import sys


def main():
    spec = importlib.util.spec_from_file_location("verify", sys.argv[1])
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    said = verify.read_log(pathlib.Path(sys.argv[2]))
    live, vkeys, whole = verify.live_files(said), verify.keys_of(said, None), pathlib.Path(sys.argv[3]).read_bytes()

    def holds(raw):
        return verify.check_certificate(raw, vkeys, said, live, sys.argv[4:])

    assert holds(whole) is True
    found = 0
    for at, byte in enumerate(whole):
        for changed in (byte ^ 1, ord("1") if byte == ord("0") else ord("0")):
            try:
                holds(whole[:at] + bytes([changed]) + whole[at + 1 :])
            except Exception:  # noqa: BLE001: whatever is said of it, it is not passed over
                found += 1
            else:
                raise AssertionError(f"byte {at} as {changed} was passed over")
    print(f"docs/verify.py: {found} changes of a certificate, each found")


if __name__ == "__main__":
    main()
