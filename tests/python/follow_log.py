"""Follows a log with a client that is not ours: `aics-tlog` of PyPI, which reads what c2sp.org/tlog-tiles says.

`python follow_log.py URL VKEY OLD_NOTE` prints the entries as JSON; OLD_NOTE is a file with a checkpoint of before. Exit code 3 without the package.
"""

import base64
import json
import sys
import urllib.request

try:
    from aics_tlog import (
        HttpTileReader, VerifiedTileReader, audit_tiles, consistency_proof_from_tiles, inclusion_proof_from_tiles, parse_note, parse_vkey,
        verify_checkpoint, verify_consistency, verify_leaf_inclusion,
    )
    from aics_tlog.checkpoint import checkpoint_from_note
except ImportError:
    sys.exit(3)


def opened(data, key):
    result = verify_checkpoint(parse_note(data), key)
    assert result.ok, result
    checkpoint, _ = checkpoint_from_note(data)
    return checkpoint


def main():
    url, key, old = sys.argv[1], parse_vkey(sys.argv[2]), open(sys.argv[3], "rb").read()
    with urllib.request.urlopen(url + "/checkpoint") as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8", answer.headers["Content-Type"]
        now = opened(answer.read(), key)
    old = opened(old, key)
    reader = HttpTileReader([url + "/"], proxies={})
    audit_tiles(reader, now.size, now.root)
    verified = VerifiedTileReader(reader, now.size, now.root)
    entries = []
    for index in range(now.size):
        entry = verified.entry(index)
        proof = inclusion_proof_from_tiles(verified, index, now.size)
        assert verify_leaf_inclusion(entry, index, now.size, proof, now.root), index
        entries.append(json.loads(entry))
    proof = consistency_proof_from_tiles(verified, old.size, now.size)
    assert verify_consistency(old.size, now.size, old.root, now.root, proof)
    wrong = bytes(32)
    assert not verify_consistency(old.size, now.size, wrong, now.root, proof)
    root = base64.b64encode(now.root).decode()
    print(json.dumps({"origin": now.origin, "old": old.size, "size": now.size, "root": root, "entries": entries}))


main()
