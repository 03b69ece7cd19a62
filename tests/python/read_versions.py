"""Says which versions of a Delta table can be read."""

import json
import sys

from deltalake import DeltaTable
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

# Arrow's own file system: deltalake's is called back in Python by threads that go on after a read has failed, and a thread that comes
# back when the interpreter ends aborts the process.
files = SubTreeFileSystem(sys.argv[1], LocalFileSystem())
newest = DeltaTable(sys.argv[1]).version()
readable = []
for version in range(newest + 1):
    try:
        DeltaTable(sys.argv[1], version=version).to_pyarrow_table(filesystem=files)
        readable.append(version)
    except Exception:
        pass
print(json.dumps({"newest": newest, "readable": readable}))
