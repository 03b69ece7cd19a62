"""Commits to a Delta table of Candor behind its back.

    python commit_to_table.py TABLE delete|update|restore|overwrite

Deletes or changes the second batch of one subject; takes the newest version back; writes the same rows anew.
"""

import sys

import pyarrow.dataset
from deltalake import DeltaTable, write_deltalake

folder, deed = sys.argv[1:3]
table = DeltaTable(folder)


def rows():
    return pyarrow.dataset.dataset(table.file_uris(), partitioning="hive").to_table()


def second_batch():
    subjects = {row["subject"] for row in rows().to_pylist() if row["batch"] == 2}
    return f"subject = '{min(subjects)}' and batch = 2"


if deed == "delete":
    table.delete(second_batch())
elif deed == "update":
    table.update(updates={"app_package": "'elsewhere'"}, predicate=second_batch())
elif deed == "restore":
    table.restore(table.version() - 1)
elif deed == "overwrite":
    write_deltalake(folder, table.to_pyarrow_table(), mode="overwrite")
else:
    sys.exit(f"{deed} is no deed")
