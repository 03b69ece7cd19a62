"""Says which versions of a Delta table can be read."""

import json
import sys

from deltalake import DeltaTable

table = DeltaTable(sys.argv[1])
newest = table.version()
readable = []
for version in range(newest + 1):
    try:
        DeltaTable(sys.argv[1], version=version).to_pyarrow_table()
        readable.append(version)
    except Exception:
        pass
print(json.dumps({"newest": newest, "readable": readable}))
