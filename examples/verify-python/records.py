"""Root records of the key store, to the byte: docs/formats/keys.md, Root record and Custody."""
import re

from basics import Failed, b64, instant, need, sha, split_note, strict_json

MAX_RUNS, MAX_PACK, MAX_LIST, MAX_BATCH, MAX_SETS, MAX_MEMBERS, MAX_BLOB, MANY = 64, 1 << 30, 256 << 20, 1000, 16, 8, 1024, 1 << 48
ZERO = bytes(32)


def number(low, high):
    def check(v):
        need(type(v) is int and low <= v <= high, "no number from %d to %d: %r" % (low, high, v))

    return check


U64, U32, U16, I64 = number(0, (1 << 64) - 1), number(0, (1 << 32) - 1), number(0, 65535), number(-(1 << 63), (1 << 63) - 1)
INT = I64


def text(v):
    need(type(v) is str, "no text: %r" % (v,))


def hexadecimal(size):
    def check(v):
        need(type(v) is str and re.fullmatch(r"[0-9a-f]{%d}" % (2 * size), v, re.ASCII), "no %d bytes in hexadecimal" % size)

    return check


def blob(v):
    text(v)
    b64(v)


def hash32(v):
    text(v)
    need(len(b64(v)) == 32, "no hash")


def time(v):
    text(v)
    m = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)", v, re.ASCII)
    need(m and m[2][1:] != "00:00", "a time that is not written as it must be: " + v)
    instant(v)


def array(of, size=None):
    def check(v):
        need(type(v) is list and size in (None, len(v)), "no list")
        for x in v:
            of(x)

    return check


def some(of):
    """A list that is left out if it is empty."""

    def check(v):
        array(of)(v)
        need(v, "an empty list that should be left out")

    return check


def nullable(of):
    """A list or bytes of a writer that had none, which may stand as null."""

    def check(v):
        if v is not None:
            of(v)

    return check


def positive(of):
    """A number that is left out if it is 0."""

    def check(v):
        of(v)
        need(v != 0, "a number of 0 that should be left out")

    return check


def members(**shape):
    """An object with these members in this order; those that end in _ may be left out."""

    def check(v):
        need(type(v) is dict, "no object")
        order = [name for name in (n.rstrip("_") for n in shape) if name in v]
        need(list(v) == order, "other members than there must be, or in another order")
        for name, of in shape.items():
            need(name.endswith("_") or name in v, "the member %s is missing" % name)
            if name.rstrip("_") in v:
                of(v[name.rstrip("_")])

    return check


def lanes(v):
    ordered(members(next=I64, last_=hexadecimal(32), gap_=some(array(I64, 2))))(v)


def ordered(of):
    """An object of any members in the order of their bytes, that is left out if it is empty."""

    def check(v):
        need(type(v) is dict and v and list(v) == sorted(v, key=str.encode), "members that do not ascend, or none")
        for x in v.values():
            of(x)

    return check


def true(v):
    need(v is True, "a word that is left out if it is not true")


def boolean(v):
    need(type(v) is bool, "neither true nor false: %r" % (v,))


def filled(v):
    text(v)
    need(v, "an empty text that should be left out")


LINK = array(U64, 4)
RUN = members(count=U64, hash=hash32, keys=LINK, index=LINK, packs=array(U64))
OUTCOME = members(request=hexadecimal(32), erased=U64, whole_=positive(U64), held_=positive(U64), retained_=positive(U64), until_=time, left_=positive(U64))
RECORD = members(
    stele=text, archive=hexadecimal(16), n=U64, prev=hexadecimal(32), burnt_=some(U64), by=text, time=time, control=U64, generation=U64,
    folded=members(cluster=text, topic_=filled, lanes_=lanes), live=U64, commitment=hash32, next_pack=U64, runs=array(RUN),
    packs=array(members(n=U64, sha256=hexadecimal(32), size=I64)), salt=hash32, sealed=blob,
    custody=members(sets=array(array(text)), shares=array(members(set=INT, custodian=text, share=blob))),
    fold_=members(added=U64, moved=U64, buried=U64, intake=U64, repeated=U64, replayed=U64, refused=U64, dead=U64,
                  late_=some(members(request=hexadecimal(32), buried=U64)), weeks_=some(U16)),
    erased_=members(cause=text, requests=array(OUTCOME), scopes=U64, removed=U64, spent=U64, root=hash32, list=hexadecimal(32), size=I64),
    recovery_=members(**{"from": U64, "lost": array(members(n=U64, hash=hexadecimal(32))), "missing": U64, "approval": hexadecimal(32)}))


class RootRecord:
    """A root record, by itself and after the one before."""

    def __init__(self, data):
        need(len(data) <= 4 << 20, "a root record that is too long")
        line = split_note(data)[0]
        r = strict_json(line)
        RECORD(r)
        need(line.count("\n") == 1, "a root record of more than a line")
        need(r["stele"] == "keyroot/v1", "no root record of version 1")
        self.file, self.r, self.by, self.n = data, r, r["by"], r["n"]
        self.runs = [(x["count"], b64(x["hash"])) for x in r["runs"]]
        self.paths = sum(n for n, _ in self.runs)
        self.check()

    def check(self):
        r = self.r
        need(r["generation"] > 0 and len(self.runs) <= MAX_RUNS and r["live"] <= self.paths, "runs that cannot be")
        need(len(b64(r["sealed"])) == 72 * len(self.runs) + 16, "sealed bytes that are not those of its runs")
        whole = len(self.runs).to_bytes(4, "little") + b"".join(n.to_bytes(8, "little") + h for n, h in self.runs)
        need(b64(r["commitment"]) == sha(b"stele/keys/v1", whole), "the commitment is not that of the runs")
        need(sum(x in r for x in ("fold", "erased", "recovery")) <= 1, "a record folds, erases or recovers")
        if "erased" in r:
            check_erased(r["erased"])
        check_packs(r)
        for run in r["runs"]:
            check_run(run)
        check_custody(r["custody"])

    def succeeds(self, p):
        """Rules 1 and 3 of what may follow what."""
        a, b = self.r, p.r
        need(a["prev"] == sha(p.file).hex() and a["archive"] == b["archive"], "a root record of another parent")
        need(a["control"] >= b["control"] and a["next_pack"] >= b["next_pack"] and instant(a["time"]) >= instant(b["time"]), "a root record goes back")
        old = {x["n"]: x for x in b["packs"]}
        need(all(old.get(x["n"], x) == x and (x["n"] in old or x["n"] >= b["next_pack"]) for x in a["packs"]), "a pack is not what it was")
        e = a.get("erased")
        need(e and a["generation"] == b["generation"] + 1, "the second root record erases nothing")
        need(len(p.runs) <= len(self.runs) <= len(p.runs) + 1, "an erasure that changes the runs")
        need(all(x[0] < y[0] or x == y for x, y in zip(self.runs, p.runs)), "a run did not lose paths only")
        need(max(e["scopes"], e["removed"], e["spent"]) <= MANY, "counts that cannot be")
        need(a["live"] + e["scopes"] == b["live"] and self.paths + e["removed"] == p.paths + e["spent"], "counts that do not follow")
        need(a["folded"] == b["folded"], "an erasure that folds")


def check_erased(e):
    need(1 <= e["size"] <= MAX_LIST and len(e["requests"]) <= MAX_BATCH, "a list or requests that cannot be")
    need(e["cause"] == "request" or e["cause"] in ("session", "ttl") and not e["requests"], "an erasure by another cause")
    ids = [o["request"] for o in e["requests"]]
    need(ids == sorted(set(ids)), "requests that do not ascend")
    need(all(0 < o["erased"] <= e["scopes"] and o.get("whole", 0) <= o["erased"] for o in e["requests"]), "a request that cannot be")


def check_packs(r):
    named = {n for run in r["runs"] for n in run["packs"]}
    numbers = [p["n"] for p in r["packs"]]
    need(numbers == sorted(set(numbers)) and set(numbers) == named, "packs that are not those of the runs")
    need(all(p["n"] < r["next_pack"] and 1 <= p["size"] <= MAX_PACK for p in r["packs"]), "a pack that cannot be")


def check_run(run):
    need(run["packs"] == sorted(set(run["packs"])), "packs that do not ascend")
    empty = run["count"] == 0
    need(run["count"] <= MANY and empty == (run["keys"] == [0] * 4) == (b64(run["hash"]) == ZERO), "a run that cannot be")
    for link in (run["keys"], run["index"]):
        need(link == [0] * 4 or link[0] in run["packs"] and max(link[1:]) <= MAX_PACK, "a link that leads nowhere")


def check_custody(c):
    sets = c["sets"]
    need(1 <= len(sets) <= MAX_SETS, "custodians that cannot be")
    for s in sets:
        need(1 <= len(s) <= MAX_MEMBERS and s == sorted(set(s)), "a set of custodians that cannot be")
        need(all(re.fullmatch(r"(?!-)[a-z0-9-]{1,32}(?<!-)", name, re.ASCII) for name in s), "no name of a custodian")
    need(all(a < b for a, b in zip(sets, sets[1:])), "sets of custodians that do not ascend")
    need(not any(set(a) <= set(b) for i, a in enumerate(sets) for k, b in enumerate(sets) if i != k), "a set of custodians that says nothing more")
    want = [(i, name) for i, s in enumerate(sets) for name in s]
    need([(x["set"], x["custodian"]) for x in c["shares"]] == want, "shares that are not those of the sets")
    need(all(1 <= len(b64(x["share"])) <= MAX_BLOB for x in c["shares"]), "a share that cannot be")
