"""All leaves of a run of a log, and what a query selects among them: docs/formats/range.md."""
import datetime
import json
import re
import struct
from array import array
from bisect import bisect_left, bisect_right

from basics import Cursor, Proof, b64, counted, leaf_hash, need, sha, stamp
from entries import body
from leaf import Leaf
from times import times_of

KINDS = ["", "input", "output", "state", "error"]
COLUMNS = 17
EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def node(left, right):
    return sha(b"\1", left, right)


def root(hashes):
    edge = Edge(0, [])
    for h in hashes:
        edge.add(0, h)
    return edge.root() if edge.size else EMPTY


class Edge:
    """The right edge of a tree that grows, by leaves and by perfect subtrees."""

    def __init__(self, size, hashes):
        self.size, self.edge = size, []  # of (level, hash), largest first
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                self.edge.append((level, hashes.pop(0)))

    def add(self, level, h):
        self.size += 1 << level
        while self.edge and self.edge[-1][0] == level:
            h, level = node(self.edge.pop()[1], h), level + 1
        self.edge.append((level, h))

    def root(self):
        h = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            h = node(left, h)
        return h


def right_levels(end, size):
    levels = []
    while end < size:
        level = (size - end).bit_length() - 1
        if end:
            level = min(level, (end & -end).bit_length() - 1)
        levels.append(level)
        end += 1 << level
    return levels


def put(n):
    """A number in its shortest form."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


class Query:
    def __init__(self, text):
        try:
            q = json.loads(text)
            names = list(q)
            need(all(isinstance(v, str) for v in q.values()), "a query of another form")
        except (ValueError, AttributeError) as e:
            need(False, "no query: %s" % e)
        need(names == [n for n in ("kind", "model", "since", "until") if n in q], "a query with other members")
        written = "{%s}" % ",".join('"%s":"%s"' % (n, q[n]) for n in names)
        need(written.encode() == text, "a query that is not written as it must be")
        need(q.get("kind", "input") in KINDS[1:], "no such kind")
        need(re.fullmatch(r"[A-Za-z0-9._:/@+-]{1,64}|~", q.get("model", "~"), re.ASCII), "a model that is never in clear")
        self.text, self.kind, self.model = written, KINDS.index(q["kind"]) if "kind" in q else None, q["model"].encode() if "model" in q else None
        self.since, self.until = (self.time(q[n]) if n in q else None for n in ("since", "until"))

    @staticmethod
    def time(text):
        m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{0,8}[1-9]))?Z", text, re.ASCII)
        need(m, "a time that is not written as it must be")
        try:
            at = datetime.datetime.strptime(m[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
        except ValueError as e:
            need(False, str(e))
        ns = int((at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(seconds=1)) * 10**9 + int((m[2] or "0").ljust(9, "0"))
        need(-(1 << 63) <= ns < 1 << 63, "a time that no record has")
        return ns

    def selects(self, kind, t, model, at):
        return (t == 1 and self.kind in (None, kind) and self.model in (None, model)
                and (self.since is None or at >= self.since) and (self.until is None or at < self.until))


class Range:
    """A part of kind 14."""

    order = ()

    def __init__(self, data):
        c = Cursor(data)
        self.head = c.take(c.uv())
        text = c.take(c.uv())
        self.first, self.count = c.uv(), c.uv()
        self.query = Query(text)
        text, found, _ = self.head.partition(b"\n\n")
        need(found, "no checkpoint")
        try:
            at = Proof.body(text.decode() + "\n")
        except UnicodeDecodeError:
            need(False, "a head that is no text")
        self.origin, self.size, want = at.origin, at.size, at.root
        need(0 < self.count <= len(data) and self.first <= self.size < 1 << 63 and self.count <= self.size - self.first, "leaves outside the tree")
        edge = Edge(self.first, [c.take(32) for _ in range(bin(self.first).count("1"))])
        levels = right_levels(self.first + self.count, self.size)
        right = [c.take(32) for _ in levels]
        # matches: indexes and hashes, ascending; signed: those of them that are in a frame
        self.at, self.matches, self.signed, self.records, self.frames = array("Q"), [], bytearray(), 0, {}
        # hashes of all leaves, and runs of rows whose seqs follow each other: where they begin, and with which stream and seq
        self.hashes, self.starts, self.runs = bytearray(), array("Q"), []
        for i, data in enumerate(self.leaves(c.rest())):
            leaf, h = Leaf(data), leaf_hash(data)
            edge.add(0, h)
            self.hashes += h
            if not self.runs or self.follows(i) != (leaf.stream, leaf.seq):
                self.starts.append(i)
                self.runs.append((leaf.stream, leaf.seq))
            self.records += leaf.type == 1
            if self.query.selects(leaf.kind, leaf.type, leaf.clear[3], struct.unpack("<q", data[44:52])[0]):
                self.at.append(self.first + i)
                self.matches.append(h)
                self.signed.append(0)
        for level, h in zip(levels, right):
            edge.add(level, h)
        need(edge.root() == want, "the leaves do not give the root of the head")
        self.root, self.proven = want, None

    def follows(self, row, run=-1):
        """Which stream and seq a row has in a run."""
        stream, seq = self.runs[run]
        return stream, seq + row - self.starts[run]

    def take_frames(self, data, header):
        """A part of kind 15."""
        need(not self.frames and data, "frames that are there twice, or none")
        c, at = Cursor(data), self.first
        while c.at < len(data):
            skipped = c.uv()
            before, behind = c.take(88), c.take(96)
            need(skipped <= self.count, "a frame outside its range")
            at += skipped
            h = header(before + bytes(32) + behind)
            need(at + h.count <= self.first + self.count, "a frame outside its range")
            row = at - self.first
            run = bisect_right(self.starts, row) - 1
            need(self.follows(row, run) == (h.stream, h.first) and (run + 1 == len(self.starts) or self.starts[run + 1] >= row + h.count), "a frame of other leaves")
            matches = range(bisect_left(self.at, at), bisect_left(self.at, at + h.count))
            need(matches, "a frame that no match needs")
            h = header(before + root(self.hashes[32 * i : 32 * i + 32] for i in range(row, row + h.count)) + behind)
            self.frames.setdefault(h.stream, []).append((h, matches))
            at += h.count
        self.order = list(self.frames)[::-1]  # streams of which the certificate may follow, the last one first

    def leaves(self, raw):
        c = Cursor(raw)
        columns = [c.take(c.uv()) for _ in range(COLUMNS)]
        c.end()
        need(len(columns[3]) == self.count, "a column of another length")
        col = [Cursor(x) for x in columns]
        streams = [columns[0][i : i + 16] for i in range(0, len(columns[0]), 16)]
        texts = []  # in the order of first use: no more are kept than rows need
        again = Writer()
        scopes, blocks, left, last = [], [], 0, 0
        for _ in range(self.count):
            if left == 0:
                stream, seq, left = col[1].uv(), col[1].uv(), col[1].uv()
                need(stream < len(streams) and left > 0, "a run of nothing")
            t, kind, flags = col[3].u8(), col[4].u8(), col[5].u8()
            z = col[6].uv()
            last = (last + (z >> 1 ^ -(z & 1))) & (1 << 64) - 1
            buckets = col[7].take(4)
            words = []
            for _ in range(7):
                n = col[8].uv()
                if n == len(texts) and col[2].at < len(columns[2]):
                    texts.append(col[2].take(col[2].u8()))
                need(n < len(texts), "a text that is not there")
                words.append(texts[n])
            body = (bytes(16), bytes(16), bytes(32), 0, bytes(32), b"")
            if t not in (1, 2):
                body = body[:5] + (col[9].take(col[9].u16()),)
            else:
                back = col[10].uv()
                if back == 0:
                    n = col[11].uv()
                    need(n <= len(scopes), "a scope that is not there")
                    if n == 0:
                        scopes.append(col[13].take(16))
                        n = len(scopes)
                        blocks.append((scopes[-1], col[14].take(32)))
                    else:
                        blocks.append((scopes[-n], col[14].take(32)))
                    back = 1
                need(back <= len(blocks), "a block that is not there")
                scope, digest = blocks[-back]
                slot = col[12].uv()
                need(slot < 1 << 16, "no such slot")
                body = (col[15].take(16), scope, digest, slot, col[16].take(32), b"")
            rid, scope, digest, slot, commitment, detail = body
            leaf = (bytes([1, t, kind, flags]) + streams[stream] + struct.pack("<Q", seq) + rid + struct.pack("<Q", last) + scope + digest
                    + struct.pack("<H", slot) + commitment + buckets + b"".join(bytes([len(w)]) + w for w in words) + struct.pack("<H", len(detail)) + detail)
            again.add(t, kind, flags, streams[stream], seq, last, buckets, words, body)
            seq, left = (seq + 1) & (1 << 64) - 1, left - 1
            yield leaf
        need(again.columns() == columns, "rows that are not written as they must be")


class Writer:
    """Writes rows in the one way, to compare."""

    def __init__(self):
        self.col = [bytearray() for _ in range(COLUMNS)]
        self.streams, self.texts, self.scopes, self.blocks, self.run, self.last = {}, {}, {}, {}, None, 0

    def add(self, t, kind, flags, stream, seq, at, buckets, words, body):
        if stream not in self.streams:
            self.streams[stream] = len(self.streams)
            self.col[0] += stream
        n = self.streams[stream]
        if self.run and self.run[0] == n and (self.run[1] + self.run[2]) & (1 << 64) - 1 == seq:
            self.run[2] += 1
        else:
            self.end_run()
            self.run = [n, seq, 1]
        for i, v in ((3, t), (4, kind), (5, flags)):
            self.col[i].append(v)
        diff = (at - self.last) & (1 << 64) - 1
        self.last = at
        self.col[6] += put((diff << 1 & (1 << 64) - 1) ^ ((1 << 64) - 1 if diff >> 63 else 0))
        self.col[7] += buckets
        for w in words:
            if w not in self.texts:
                self.texts[w] = len(self.texts)
                self.col[2] += bytes([len(w)]) + w
            self.col[8] += put(self.texts[w])
        rid, scope, digest, slot, commitment, detail = body
        if t not in (1, 2):
            self.col[9] += struct.pack("<H", len(detail)) + detail
            return
        if (scope, digest) in self.blocks:
            self.col[10] += put(len(self.blocks) - self.blocks[scope, digest])
        else:
            self.blocks[scope, digest] = len(self.blocks)
            self.col[10] += put(0)
            self.col[14] += digest
            if scope in self.scopes:
                self.col[11] += put(len(self.scopes) - self.scopes[scope])
            else:
                self.scopes[scope] = len(self.scopes)
                self.col[11] += put(0)
                self.col[13] += scope
        self.col[12] += put(slot)
        self.col[15] += rid
        self.col[16] += commitment

    def end_run(self):
        if self.run:
            self.col[1] += b"".join(put(v) for v in self.run)

    def columns(self):
        self.end_run()
        self.run = None
        return [bytes(c) for c in self.col]


def partition(name, origin):
    m = re.fullmatch(re.escape(name) + r"/([0-9]+)/.*", origin, re.ASCII | re.DOTALL)
    need(m and int(m[1]) < 1 << 32, "%s is no log of %s" % (origin, name))
    return int(m[1])


def awaits(r, stream):
    """Whether the certificate of a stream stands behind the first frames of it, in their order."""
    need(stream in r.order, "a certificate that no frame here needs, or out of order")
    while r.order.pop() != stream:
        pass


def complete(checker, ranges):
    """Who signed the heads of ranges and the matches in them, where they are logged, and which logs there are."""
    if not ranges:
        return
    logs = listed(checker)
    for r in ranges:
        shown(checker, r)
        signatures(checker, r)
    outside(checker, ranges, logs)


def shown(checker, r):
    about = "range %s %d" % (r.origin, r.first)
    entry, head = checker.head_of(r.head)
    if not head:
        checker.missing.append([about, "complete"])
        return
    part = partition(checker.name, head["log"])
    key = checker.named("compactor", entry.by, entry.proof.index)
    if not key:
        checker.missing.append([about, "complete"])
        return
    key.open_entry(entry)
    at = Proof.body(key.open(r.head))
    need(at.origin == r.origin == head["log"], "the head of another log")
    r.proven = (part, key, entry, head["commit"])
    checker.say(about, "complete", str(key), "leaves %d to %d of %d, root %s; %d of %s %s %s, root over their leaf hashes %s" % (
        r.first, r.first + r.count - 1, r.size, b64(r.root, write=True), len(r.matches), counted(r.records, "record"), "matches" if len(r.matches) == 1 else "match", r.query.text, b64(root(r.matches), write=True)))
    checker.say(about, "head", str(checker.log), "entry %d of %d, commit %d" % (entry.proof.index, checker.head.size, head["commit"]))


def signatures(checker, r):
    """Whose signatures are behind the matches of a range."""
    about = "range %s %d" % (r.origin, r.first)
    for stream, frames in r.frames.items():
        cert = checker.streams.get(stream)
        need(cert, "the certificate of the stream of a frame is not here")
        part = partition(checker.name, r.origin)
        hashes = []
        for h, matches in frames:
            need(h.archive == cert.archive == checker.archive and h.partition == cert.partition == part, "a frame of another archive or partition")
            h.signed_by(cert.key)
            for i in matches:
                hashes.append(r.matches[i])
                r.signed[i] = True
        if r.proven:
            checker.say(about, "signed", "stream " + stream.hex(), "%s in %s, root over their leaf hashes %s" % (counted(len(hashes), "match"), counted(len(frames), "frame"), b64(root(hashes), write=True)))
        if stream not in checker.told:
            checker.told.add(stream)
            checker.writer("stream " + stream.hex(), cert)
    if not r.proven:
        return
    part = r.proven[0]
    for i, (at, h) in enumerate(zip(r.at, r.matches)):
        if (part, h) in checker.places and checker.places[part, h] is None:
            checker.places[part, h] = (r, at)
        r.signed[i] = r.signed[i] or (part, h) in checker.places
    if not all(r.signed):
        checker.missing.append([about, "signed"])


def listed(checker):
    """The index of the list of logs, and the heads in it: origin, size and root of each; None without one."""
    entries = [e for e in checker.entries if e.proof and e.type == "logs"]
    key = None
    if entries:
        e = entries[-1]
        e.used = True
        key = checker.named("compactor", e.by, e.proof.index)
    if not key or e.logs is None:
        checker.missing.append(["archive", "logs"])
        return None
    key.open_entry(e)
    body(e)
    need(e.body["control"] == e.proof.index and e.logs.endswith(b"\n"), "no list of logs")
    lines = e.logs[:-1].split(b"\n")
    need(len(lines) == e.body["logs"] and b64(e.body["root"]) == root([leaf_hash(x) for x in lines]), "the lines are not those of the list of logs")
    heads = []
    for line in lines:
        try:
            heads.append(Proof.body(line.decode().replace(" ", "\n") + "\n"))
        except UnicodeDecodeError:
            need(False, "a line that is no text")
    need(all(a.origin.encode() < b.origin.encode() for a, b in zip(heads, heads[1:])), "logs that do not ascend")
    checker.say("archive", "logs", str(key), "%s at size %d, entry %d of %d, %s, root %s" % (
        counted(len(lines), "log"), e.body["control"], e.proof.index, checker.head.size, stamp(e.time), e.body["root"]))
    return e.proof.index, {h.origin: (h.size, h.root) for h in heads}


def outside(checker, ranges, logs):
    """Which leaves of which logs are not shown."""
    before, want = logs or (checker.head.size if checker.head else 0, {})
    shown, heads = {}, {}
    for r in ranges:
        heads[r.origin] = r.head
        if not r.proven:
            continue
        if logs is None:
            want[r.origin] = (r.size, r.root)
        need(r.origin in want, "a log that the list does not have")
        size, top = want[r.origin]
        need(r.size < size or (r.size, r.root) == (size, top), "the list of logs does not have its head")
        shown.setdefault(r.origin, []).append((r.first, r.first + r.count))
    for g in checker.records:
        need(not g.log or heads.get(g.log.origin, g.log.checkpoint) == g.log.checkpoint, "two heads of one log")
    for origin, head in want.items():
        t, key = times_of(checker, origin, head, before)
        at, size = 0, head[0]
        for first, end in shown.get(origin, []) + [(size, size)]:
            if at < first and t and not key:
                t.used = True
            if at < first and key and t.outside(at, first):
                t.used = True
                checker.say("log " + origin, "outside", str(key), "leaves %d to %d of %d are of other times" % (at, first - 1, size))
            elif at < first:
                checker.missing.append(["log " + origin, "outside"])
            at = end
    need(all(t.used for t in checker.times), "times of commits that nothing needs")


def in_range(checker, record, about):
    """Whether a record is in a range that holds."""
    r, index = checker.places.get((record.header.partition, record.hash)) or (None, None)
    if r is None:
        return False
    _, key, entry, commit = r.proven
    checker.say(about, "log", str(key), "%s leaf %d of %d, root %s" % (r.origin, index, r.size, b64(r.root, write=True)))
    checker.say(about, "head", str(checker.log), "entry %d of %d, commit %d" % (entry.proof.index, checker.head.size, commit))
    return True
