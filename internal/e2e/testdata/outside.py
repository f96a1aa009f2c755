"""Counts the records of an archive by model and hour, with pyarrow or with DuckDB.

usage: outside.py pyarrow|duckdb ARCHIVE
prints {"2026-01-02T03 model": count, …}
"""

import collections
import glob
import json
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

reader, archive = sys.argv[1:]
paths = sorted(glob.glob(archive + "/logs/*/*/objects/*.index.arrow"))


def by_pyarrow():
    counts = collections.Counter()
    for path in paths:
        table = ipc.open_file(pa.memory_map(path)).read_all()
        table = table.filter(pc.equal(table["type"], "record"))
        hours = pc.strftime(table["time"], format="%Y-%m-%dT%H")
        for hour, model in zip(hours.to_pylist(), table["model"].to_pylist()):
            counts[hour + " " + model] += 1
    return counts


def by_duckdb():
    import duckdb

    tables = [ipc.open_file(pa.memory_map(path)).read_all().unify_dictionaries() for path in paths]
    plain = [t.cast(pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in t.schema])) for t in tables]
    rows = pa.concat_tables(plain)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.register("rows", rows)
    return dict(con.execute("""
        SELECT strftime(time, '%Y-%m-%dT%H') || ' ' || model, count(*)
        FROM rows WHERE type = 'record' GROUP BY ALL""").fetchall())


print(json.dumps({"pyarrow": by_pyarrow, "duckdb": by_duckdb}[reader]()))
