"""Counts the rows of every table under a folder with three readers; prints JSON by table (`purpose/stream`).

Besides all rows it counts those of one subject: a bloom filter that a reader misreads shows there.
"""
import json
import pathlib
import sys

import deltalake
import duckdb
import duckdb_extension_delta
import polars
import pyarrow.compute
import pyarrow.fs

root = pathlib.Path(sys.argv[1])
duck = duckdb.connect()
# The wheel ships the extension: nothing is fetched.
extension = next(pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
duck.execute(f"LOAD '{extension}'")
counts = {}
for log in sorted(root.glob("*/*/_delta_log")):
    table = str(log.parent)
    # Arrow's own file system, since deltalake's calls Python from threads that may outlive the read: see read_versions.py.
    files = pyarrow.fs.SubTreeFileSystem(table, pyarrow.fs.LocalFileSystem())
    rows = deltalake.DeltaTable(table).to_pyarrow_table(filesystem=files)
    subject = rows["subject"][0].as_py()
    frame = polars.read_delta(table)
    scan = f"delta_scan('{table}')"
    counts[str(log.parent.relative_to(root))] = {
        "deltalake": rows.num_rows,
        "duckdb": duck.execute(f"select count(*) from {scan}").fetchone()[0],
        "polars": frame.height,
        "of one subject": rows["subject"].to_pylist().count(subject),
        "deltalake of one subject": rows.filter(pyarrow.compute.field("subject") == subject).num_rows,
        "duckdb of one subject": duck.execute(f"select count(*) from {scan} where subject = ?", [subject]).fetchone()[0],
        "polars of one subject": frame.filter(polars.col("subject") == subject).height,
    }
print(json.dumps(counts))
