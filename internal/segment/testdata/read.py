"""Reads a segment as a user of pyarrow and DuckDB would, and prints what it sees as JSON.

usage: read.py DIRECTORY   with index.arrow, data.<class>.arrow, head (bytes of the index that are its head), batch (its second batch)
"""
import glob, hashlib, json, os, sys

import duckdb
import pyarrow as pa

directory = sys.argv[1]
path = lambda name: os.path.join(directory, name)
read = lambda name: open(path(name), "rb").read()

index = pa.ipc.open_file(pa.memory_map(path("index.arrow")))
table = index.read_all()
table.validate(full=True)

raw = read("index.arrow")
stream = pa.ipc.open_stream(pa.BufferReader(raw[8:]))
eos = b"\xff\xff\xff\xff\x00\x00\x00\x00"
alone = pa.ipc.open_stream(pa.BufferReader(read("head")[8:] + read("batch") + eos)).read_all()

by_hour = duckdb.sql(
    """select model::varchar, epoch_us(date_trunc('hour', time::timestamptz)) // 3600000000 as hour, count(*) from "table"
    where type = 'record' group by all order by all"""
).fetchall()
inputs = duckdb.sql("""select count(*) from "table" where kind = 'input'""").fetchall()[0][0]
scopes = duckdb.sql("""select count(distinct scope) from "table" where block_length > 0""").fetchall()[0][0]

blocks, sealed = {}, {}
for name in glob.glob(path("data.*.arrow")):
    data = pa.ipc.open_file(pa.memory_map(name)).read_all()
    data.validate(full=True)
    if not pa.ipc.open_stream(pa.BufferReader(read(name)[8:])).read_all().equals(data):
        sys.exit(name + " is another table as a stream")
    name = data.schema.metadata[b"class"].decode()
    blocks[name] = data.num_rows
    for row in data.to_pylist():
        sealed[row["leaf"]] = row["block"]
matching = 0
for leaf, row in enumerate(table.drop_columns(["time"]).to_pylist()):
    if row["block_length"]:
        raw_class = read("data." + row["class"] + ".arrow")
        at = raw_class[row["block_offset"]:][: row["block_length"]]
        block = sealed[leaf - row["block_back"]]
        matching += at == block and hashlib.sha256(at).digest() == row["digest"]

json.dump(
    {
        "rows": table.num_rows,
        "batches": index.num_record_batches,
        "schema": {f.name: str(f.type) + (" nullable" if f.nullable else "") for f in table.schema},
        "metadata": {k.decode(): v.decode() for k, v in table.schema.metadata.items()},
        "stream_equal": stream.read_all().equals(table),
        "alone_equal": alone.equals(pa.Table.from_batches([index.get_batch(1)])),
        "by_hour": by_hour,
        "inputs": inputs,
        "scopes": scopes,
        "blocks": blocks,
        "matching": matching,
    },
    sys.stdout,
)
