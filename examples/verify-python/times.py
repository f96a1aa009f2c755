"""Of what times the commits of a log are: docs/formats/range.md, Times."""
import struct
from bisect import bisect_right

from basics import Cursor, Proof, b64, need, sha, split_note, strict_json
from records import I64, INT, U16, U32, U64, array, blob, filled, hash32, hexadecimal, members, nullable, number, ordered, positive, some, text, time, true

NO_FROM, NO_UNTIL = (1 << 63) - 1, -(1 << 63)

U8 = number(0, 255)
H16, H32 = hexadecimal(16), hexadecimal(32)
SPAN = members(off=I64, len=I64, sha256=H32, rows_=positive(INT))
LANE = members(next=I64, last_=H32, gap_=some(array(I64, 2)))
BEAT = members(seq=U64, head=H32, time=time, note=nullable(blob))
TIP = members(
    id=H16, service=text, key=nullable(blob), **{"from": U64}, next=U64, head=H32, beat_=BEAT, every=U32, durability=U8, closed_=true,
    prev_=members(stream=H16, seq=U64, head=H32), recovered_=members(seq=U64, head=H32),
    gaps_=some(members(**{"from": U64}, to=U64, head=H32, prev=H32)), late_=some(array(U64, 2)), lost_=positive(U64), lost_seq_=positive(U64), lane=text,
    encaps_=some(members(id=H16, commit=U64)))
OBJECT = members(kind=text, class_=filled, key=text, sha256=H32, size=I64, version_=filled, lock=text, until_=time)
COMMIT = members(
    stele=text, archive=H16, log=text, n=U64, prev=H32, burnt_=some(U64), by=text, time=time, source_time=time, control=U64,
    tree=members(first=U64, size=U64, root=hash32, before_=some(hash32), after_=some(hash32)), records_=positive(U64), pieces_=positive(U64),
    from_=time, until_=time, spans_=H32, objects_=some(OBJECT), index_=members(head=SPAN, batches=nullable(array(SPAN))), proof_=some(SPAN),
    source=members(cluster=text, topic_=filled, lanes_=ordered(LANE)), grants_end_=ordered(I64), streams_=some(TIP), quarantined_=positive(U64), duplicates_=positive(U64),
    final_=members(next=text), continues_=members(log=text, n=U64))


def signed64(v):
    return (v + (1 << 63)) % (1 << 64) - (1 << 63)


class Times:
    """A part of kind 19."""

    def __init__(self, data, archive, query):
        c = Cursor(data)
        self.file = c.take(c.uv())
        self.first, self.end = [], []  # runs of leaves that may match, and where they end
        spans, end, last = bytes(32), 0, 0
        while c.at < len(data):
            first, leaves = end, c.uv()
            end += leaves
            need(0 < leaves <= 1 << 62 and end <= 1 << 62, "a commit without leaves, or with too many")
            some, t = c.u8(), (NO_FROM, NO_UNTIL)
            need(some <= 1, "times that are not written as they must be")
            if some:
                z = c.uv()
                start = signed64(last + (z >> 1 ^ -(z & 1)))
                t = (start, signed64(start + c.uv()))
                need(t[0] <= t[1], "times that end before they begin")
                last = t[1]
            spans = sha(b"stele/spans/v1\0", spans, struct.pack("<QQqq", first, end, *t))
            if t[0] > t[1] or query.since is not None and t[1] < query.since or query.until is not None and t[0] >= query.until:
                continue
            if self.end and self.end[-1] == first:
                self.end[-1] = end
            else:
                self.first.append(first)
                self.end.append(end)
        need(end, "times of nothing")
        line = split_note(self.file)[0]
        self.commit = strict_json(line)
        need(line.count("\n") == 1, "a commit of more than a line")
        COMMIT(self.commit)
        self.log, self.by, self.size, self.root = self.commit["log"], self.commit["by"], self.commit["tree"]["size"], b64(self.commit["tree"]["root"])
        need(self.commit["stele"] == "commit/v1" and self.commit["archive"] == archive.hex() and self.commit.get("spans") == spans.hex() and end == self.size, "times that are not those of its commit")
        self.used = False

    def outside(self, first, end):
        """Whether no record of these leaves can match."""
        at = bisect_right(self.end, first)
        return at == len(self.end) or self.first[at] >= end


def times_of(checker, origin, head, before):
    """The times of the commits of a log, and whose word they are; None if the file does not show that."""
    t = checker.times_by.get(origin)
    if not t:
        return None, None
    entry, logged = checker.by_commit.get(sha(t.file).hex(), (None, None))
    if not entry or entry.proof.index >= before:
        return t, None
    entry.used = True
    by, key = (checker.named("compactor", name, entry.proof.index) for name in (entry.by, t.by))
    if not by or not key:
        return t, None
    by.open_entry(entry)
    at = Proof.body(by.open(logged["checkpoint"].encode()))
    key.open(t.file)
    need(logged["log"] == at.origin == origin and logged["commit"] == t.commit["n"] and (at.size, at.root) == (t.size, t.root) == head, "a commit that is not at the head of its log")
    return t, key
