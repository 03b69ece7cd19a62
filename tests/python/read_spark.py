"""Reads every table under a folder with Spark, as Parquet alone, and holds rows, types and nulls against what DuckDB reads by the Delta log.

Prints JSON by table (`purpose/stream`). Needs the packages of requirements-spark.txt and a Java that they know (17).
"""
import json
import os
import pathlib
import sys
import tempfile
import time

os.environ["TZ"] = "UTC"
time.tzset()

import duckdb
import duckdb_extension_delta
import pyspark.sql

# What DuckDB calls the types that Spark calls so.
TYPES = {"string": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE", "bigint": "BIGINT", "int": "INTEGER", "double": "DOUBLE", "boolean": "BOOLEAN",
         "date": "DATE"}


def main():
    root = pathlib.Path(sys.argv[1])
    spark = (pyspark.sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
             .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "1")
             .config("spark.sql.warehouse.dir", tempfile.mkdtemp()).getOrCreate())
    spark.sparkContext.setLogLevel("ERROR")
    duck = duckdb.connect()
    extension = next(pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
    duck.execute(f"LOAD '{extension}'")
    duck.execute("SET TimeZone = 'UTC'")
    found = {}
    for log in sorted(root.glob("*/*/_delta_log")):
        found[str(log.parent.relative_to(root))] = table(spark, duck, str(log.parent))
    spark.stop()
    print(json.dumps(found))


def table(spark, duck, folder):
    count = duck.execute(f"SELECT count(*) FROM delta_scan('{folder}')").fetchone()[0]
    if not any(pathlib.Path(folder).glob("received_date=*/*.parquet")):
        # Without a file Spark knows no columns.
        return {"rows": [0, count], "columns": 0, "types differ": [], "nulls": [[], []], "rows differ": count, "files": 0}
    # A column that came later is in some files only.
    frame = spark.read.option("mergeSchema", "true").parquet(folder)
    scan = f"delta_scan('{folder}')"
    types = dict(frame.dtypes)
    expected = {name: kind for name, kind, *_ in duck.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
    names = sorted(types)
    nulls = lambda quote: ", ".join(f"count(*) - count({quote}{name}{quote})" for name in names)
    frame.createOrReplaceTempView("candor")
    # Times as numbers: each program has an idea of its own of how they look.
    mine = lambda name: f"unix_micros(`{name}`)" if types[name] == "timestamp" else f"cast(`{name}` as string)" if types[name] == "date" else f"`{name}`"
    theirs = lambda name: f'epoch_us("{name}")' if types[name] == "timestamp" else f'cast("{name}" as varchar)' if types[name] == "date" else f'"{name}"'
    ours = rows(map(tuple, spark.sql(f"SELECT {', '.join(map(mine, names))} FROM candor").collect()))
    others = rows(duck.execute(f"SELECT {', '.join(map(theirs, names))} FROM {scan}").fetchall())
    return {
        "rows": [len(ours), len(others)],
        "columns": len(names),
        "types differ": sorted(name for name in set(types) | set(expected) if sql(types.get(name, "")) != expected.get(name)),
        "nulls": [list(map(tuple, spark.sql(f"SELECT {nulls('`')} FROM candor").collect()))[0], duck.execute(f"SELECT {nulls(chr(34))} FROM {scan}").fetchone()],
        "rows differ": sum(one != other for one, other in zip(ours, others)) + abs(len(ours) - len(others)),
        "files": len(frame.inputFiles()),
    }


def sql(kind):
    if kind.startswith("array<"):
        return sql(kind[len("array<"):-1]) + "[]"
    return TYPES.get(kind, kind)


def rows(several):
    return sorted(repr(tuple(list(value) if isinstance(value, (list, tuple)) else value for value in row)) for row in several)


main()
