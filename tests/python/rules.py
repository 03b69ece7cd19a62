"""Reads logs of entries as docs/verify.py does: a line of output for each, `holds` or why not.

    python rules.py VERIFY.PY < LOGS

The first line has a log: entries in hex, a space between them. Each further line has another one, in which a number stands for the entry of
the first log that has it.
"""

import functools
import importlib.util
import sys


def main():
    spec = importlib.util.spec_from_file_location("verify", sys.argv[1])
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    # Most entries are those of the first log, each time.
    verify.read_entry = functools.lru_cache(1_000)(verify.read_entry)
    first = [bytes.fromhex(entry) for entry in sys.stdin.readline().split()]
    for line in sys.stdin:
        entries = [bytes.fromhex(one[1:]) if one.startswith("x") else first[int(one)] for one in line.split()]
        try:
            live = verify.live_files(verify.read_entries(entries))
        except verify.Wrong as why:
            print(ascii(str(why)))
        else:
            print("holds", *live)


if __name__ == "__main__":
    main()
