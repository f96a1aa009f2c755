#!/usr/bin/env python3
"""Checks an evidence file of Stele with the trust file alone, written from docs/formats and nothing else.

    python3 verify.py trust.stele FILE        says what the file shows; exit code 0, or 1 (no such file, or no trust file), 3 (not
                                              readable), 10 (does not hold), 11 (a part of what was to be shown is missing),
                                              12 (who should have seen it has not)
    python3 verify.py --batch                 reads lines {"trust": base64, "file": base64}, answers each with a line

Needs the standard library and the package 'cryptography'. It holds up to 40 times what a file unpacks to, 64 MiB at most: files from
strangers belong under a limit of 3 GiB. Evidence of a record takes 25 MiB, which is the interpreter.
"""
import base64
import json
import struct
import sys
import zlib
from bisect import bisect_right

from basics import Cursor, Failed, Format, Key, Proof, b64, counted, entry_hash, instant, leaf_hash, need, root_of, sha, split_note, strict_json, verify, written
from entries import ENVELOPE, body
from erasure import About, Erasure, gone, read_proofs
from expand import MAX_LEN, Expander
from leaf import Leaf
from names import Names
from ranges import Range, awaits, complete, in_range
from records import time
from times import Times
from vouch import Policy, Vouch, vouched

MAX_PACKED, MAX_ENTRY = 80 << 20, 1 << 20
RECORD, LOG, FIELDS, SCOPE, STREAM, ENTRY, CONTROL, NAMES, ROOT, ERASED, TRIES, SELECTION, REMOVED = range(1, 14)
RANGE, SIGNED, COSIGNED, ANCHORED, LOGS, TIMES = 14, 15, 16, 17, 18, 19
FIELD_NAMES = ["body", "id", "trace", "attributes", "content-type", "zone"]
SCOPE_NAMES = ["tenant", "subject", "session"]
TYPES = ["", "record", "piece", "open", "loss", "close", "sampled", "recovered"]
ZERO = bytes(16)


DICTIONARY = """\
{"cause":"request","requests":[{"request":"","erased":1}],"from":1,"to":2,"before":{"n":1,"hash":""},"root":{"n":2,"hash":""},"control":
"list":"","paths":"","scopes":1,"removed":1,"spent":1,"custody":[{"custodian":"default","generation":1,"class":"","destroyed":"20
","irrecoverable":"","statement":""}],"watermark":2,"archive":"","transport":"20","single":true,"open":["best-effort default"]}}
{"stele":"keyroot/v1","prev":"","n":"by":"control":"generation":1,"folded":{"cluster":"","topic":"","lanes":{"":{"next":"last":""}}},"live":
"commitment":"","next_pack":"runs":[{"count":"hash":"","keys":[],"index":[],"packs":[]}],"packs":[{"n":"sha256":"","size":}],"salt":"","sealed":""
{"what":"erase","until":"","urgent":false,"select":{"kind":"subject","salted":"","week":"sealed":""}}} approver holder reader keyservice writer
{"stele":"entry/v1","type":"request","archive":"","time":"20","by":"/approver/","body":{"request":""}}
"type":"approve","type":"erased","by":"/keyservice/keys","type":"destroyed","type":"policy","body":{"version":1,"classes":[{"name":"","key":"
default chat gpt-4 claude-
c2sp.org/tlog-proof@v1
index 1
/control
stele logpipe/1
compactor /compactor/default+
writer default 
"}}

— /root 
— /compactor/default 
heads","archive":"
","time":"
","by":"/root","body":{"version":1,"names":1,"root":"
","by":"/compactor/default","body":{"heads":[{"log":"/0/202Q1","commit":1,"hash":"","checkpoint":"
"}],"roster":"
{"stele":"entry/v1","type":"roster","archive":\"""".encode()


def parse(data):
    """Splits a file into its parts."""
    if len(data) < 32 or data[:4] != b"STLV":
        raise Format("it does not start like an evidence file")
    if data[:8] != b"STLV\1\0\0\0":
        raise Format("version %d is not known here" % data[4])
    if len(data) > MAX_PACKED or sha(data[:24], data[32:])[:8] != data[24:32]:
        raise Format("it is damaged")
    archive, c = data[8:24], Cursor(data[32:])
    known = DICTIONARY + archive.hex().encode() + b"STLF\1\0\0\0" + archive + struct.pack("<II", 0, 1)
    try:
        words = c.take(32 * c.uv())
        z = zlib.decompressobj(-15, zdict=known)
        ops = z.decompress(c.rest(), MAX_LEN + 1)
        need(len(ops) <= MAX_LEN and z.eof and not z.unused_data, "it is too long, ends early, or something follows it")
        return archive, Expander(words, ops).parts()
    except (Failed, zlib.error) as e:
        raise Format(str(e))


class Entry:
    """A part of kind 6 with what belongs to it."""

    def __init__(self, data):
        need(len(data) <= MAX_ENTRY, "an entry that is too long")
        self.data, self.proof, self.names, self.used, self.more, self.bound, self.opened = data, None, None, False, False, False, None
        self.roots, self.list, self.proofs, self.removed, self.line, self.logs = [], None, None, [], None, None
        text = split_note(data)[0]
        e = strict_json(text)
        ENVELOPE(e)
        need(text.count("\n") == 1 and e["stele"] == "entry/v1", "an entry of another version")
        self.type, self.by, self.body, self.archive, self.time = e["type"], e["by"], e["body"], bytes.fromhex(e["archive"]), e["time"]

    def take(self, kind, part):
        """Takes a part that belongs to an erasure or a request."""
        self.more, erased, roots = True, self.type == "erased", len(self.roots)
        if kind == ROOT and erased and roots < 2:
            self.roots.append(part)
        elif kind == REMOVED and erased and roots == 2 and self.list is None:
            r = Removed(part)
            need(not self.removed or self.removed[-1].index < r.index, "paths that do not ascend")
            self.removed.append(r)
        elif kind == ERASED and erased and roots == 2 and self.list is None and not self.removed:
            self.list = part
        elif kind == LOGS and self.type == "logs" and self.logs is None:
            self.logs = part
        elif kind == TRIES and self.list is not None and self.proofs is None:
            self.proofs = read_proofs(part)
        else:
            need(kind == SELECTION and self.type == "request" and self.line is None, "a part that is misplaced")
            self.line = part


class Removed:
    """A part of kind 13."""

    def __init__(self, data):
        c = Cursor(data)
        self.index, self.proof, self.path, self.used = c.uv(), c.path(), c.rest(), False


class Header:
    """Header and signature of a frame."""

    def __init__(self, signed):
        self.signed = signed
        need(signed[:8] == b"STLF\1\0\0\0", "no frame of version 1")
        self.archive = signed[8:24]
        self.partition, self.count = struct.unpack("<II", signed[24:32])
        self.stream = signed[32:48]
        self.first = struct.unpack("<Q", signed[48:56])[0]
        self.leaves, self.entries = signed[88:120], signed[120:152]
        need(1 <= self.count <= 65535 and self.first <= (1 << 64) - 1 - 65535, "a frame out of range")

    def signed_by(self, key):
        need(verify(key, self.signed[152:], b"stele/frame/v1\n" + self.signed[:152]), "the frame is not signed by its stream")


class Cert:
    """A stream certificate."""

    def __init__(self, data):
        c = Cursor(data)
        need(c.u8() == 1, "a certificate of an unknown version")
        self.archive, self.partition, self.stream = c.take(16), c.u32(), c.take(16)
        self.key, self.service_key = c.take(32), c.take(32)
        c.take(12)
        need(1 <= c.u8() <= 3, "no such durability")
        c.take(56)
        try:
            self.service, _ = c.take(c.u8()).decode(), c.take(c.u8()).decode()
        except UnicodeDecodeError:
            raise Failed("a certificate with a name that is no text")
        signature = c.take(64)
        c.end()
        need(verify(self.service_key, signature, b"stele/stream/v1\n" + data[:-64]), "the certificate is not signed by its service key")


class Record:
    """A part of kind 1 with what belongs to it."""

    def __init__(self, data):
        c = Cursor(data)
        before, behind, path, self.leafdata = c.take(88), c.take(96), c.path(), c.rest()
        self.leaf, self.hash = Leaf(self.leafdata), leaf_hash(self.leafdata)
        h = Header(before + bytes(32) + behind)
        need(h.first <= self.leaf.seq, "not the frame of the leaf")
        self.header = Header(before + root_of(self.hash, self.leaf.seq - h.first, h.count, path) + behind)
        self.log = self.fields = self.scope = None

    def about(self):
        if self.leaf.id == ZERO:
            return "%s %s %d" % (TYPES[self.leaf.type], self.leaf.stream.hex(), self.leaf.seq)
        return TYPES[self.leaf.type] + " " + self.leaf.id.hex()


def read_fields(data):
    c, out = Cursor(data), []
    for f in range(1, 7):
        shown = c.u8()
        need(shown <= 1, "a field of an unknown kind")
        if shown:
            salt, value = c.value()
            out.append((sha(salt, bytes([f]), value), value))
        else:
            out.append((c.take(32), None))
    c.end()
    return out


class Scope:
    def __init__(self, data):
        c = Cursor(data)
        self.header = Header(c.take(216))
        steps = [(c.u8(), c.take(32)) for _ in range(c.u8())]
        need(len(steps) <= 16 and all(side <= 1 for side, _ in steps), "a path out of range")
        entry = c.take(c.u16())
        self.names = []
        for _ in SCOPE_NAMES:
            shown = c.u8()
            need(shown <= 1, "a name of an unknown kind")
            self.names.append(c.value() if shown else None)
        c.end()
        self.root = leaf_hash(entry)
        for side, h in steps:
            self.root = sha(b"\1", self.root, h) if side else sha(b"\1", h, self.root)
        e = Cursor(entry)
        need(e.u8() == 1, "an entry that is none of a scope")
        self.id, _, _, self.kcv = e.take(16), e.take(8), e.take(32), e.take(32)
        self.commitments = [e.take(32) for _ in SCOPE_NAMES]
        self.klass = e.take(e.u8())
        e.end()


def policy_names(p):
    """The lines of a roster, from the whole policy."""
    for role, member, key in [("approver", "approvers", "key"), ("holder", "holders", "key"), ("compactor", "compactors", "key"),
                              ("keyservice", "keyservices", "key"), ("reader", "readers", "sign")]:
        for n in p.get(member) or []:
            yield "%s %s" % (role, n[key])
    for w in p.get("writers") or []:
        yield "writer %s %s" % (w["name"], w["key"] or "") + (" revoked " + written(instant(w["revoked"])) if "revoked" in w else "")


def key_of(vkey):
    """The key of a line of a roster; None if there is none."""
    try:
        return Key(vkey)
    except Failed:
        return None


def writer_of(rest):
    """The service key in a line of a roster, behind the word writer; None if it says something else."""
    words = rest.split(" ", 2)
    try:
        if len(words) == 3:
            need(words[2].startswith("revoked "), "no such line")
            time(words[2][8:])
        return words[1] if len(words) > 1 else None
    except Failed:
        return None


class Checker:
    def __init__(self, trust, data):
        self.policy = Policy()
        for line in trust.decode().splitlines():
            word, _, rest = line.strip().partition(" ")
            if word == "archive":
                digits, _, self.name = rest.partition(" ")
                self.archive = bytes.fromhex(digits)
            elif word == "root":
                self.root = Key(rest)
            elif word == "log":
                self.log = Key(rest.split(" ")[0])
            else:
                self.policy.line(word, rest)
        self.holds, self.missing, self.records, self.entries, self.streams, self.sources = [], [], [], [], {}, []
        self.vouches, self.erased, self.ranges, self.times, self.times_by, self.told = [], [], [], [], {}, set()
        archive, parts = parse(data)
        need(archive == self.archive, "the file is of another archive")
        seen = set()
        for kind, part in parts:
            self.take(kind, part, seen)
        need(self.records or self.entries or self.ranges, "it has no record and no entry")
        self.control()
        self.logged_heads()
        vouched(self, self.vouches)
        self.rosters()
        erasures = [e for e in self.entries if e.proof and e.type == "erased"]
        self.about = About(self.entries if erasures else [])
        for e in erasures:
            Erasure(self, e).judge()
        self.gone = gone(self.erased if any(r.scope for r in self.records) else [])
        self.places = {(r.header.partition, r.hash): None for r in self.records}  # range and index of the leaves of records, where they are in one
        complete(self, self.ranges)
        for r in self.records:
            self.record(r)
        self.left_over()

    def say(self, about, what, by, detail):
        self.holds.append([about, what, by, detail])

    def take(self, kind, part, seen):
        def once(h):
            need(h not in seen, "it is there twice")
            seen.add(h)

        need(kind >= COSIGNED and kind not in (LOGS, TIMES) or not self.vouches, "a part behind those about the head")
        if kind == RECORD:
            r = Record(part)
            once(r.hash)
            need(not self.records or self.records[-1].leaf.stream in self.streams, "a record without the certificate of its stream")
            self.records.append(r)
        elif kind in (LOG, FIELDS, SCOPE):
            need(self.records, "a part without its record")
            r = self.records[-1]
            member, read = {LOG: ("log", Proof), FIELDS: ("fields", read_fields), SCOPE: ("scope", Scope)}[kind]
            need(getattr(r, member) is None, "it is there twice")
            setattr(r, member, read(part))
        elif kind == STREAM:
            cert = Cert(part)
            need(cert.stream not in self.streams, "it is there twice")
            if self.records:
                need(self.records[-1].leaf.stream == cert.stream, "a certificate that is not behind its record")
            else:
                need(self.ranges and not self.times and not self.entries, "a certificate of nothing")
                awaits(self.ranges[-1], cert.stream)
            self.streams[cert.stream] = cert
        elif kind == ENTRY:
            once(entry_hash(part))
            self.entries.append(Entry(part))
        elif kind in (CONTROL, NAMES):
            need(self.entries, "a part without its entry")
            e = self.entries[-1]
            if kind == CONTROL:
                need(e.proof is None and not e.more, "it is there twice, or not behind its entry")
                e.proof = Proof(part)
            else:
                e.more = True
                need(e.type == "roster" and e.names is None, "names without their roster, or twice")
                e.names = Names(part)
        elif kind == RANGE:
            r = Range(part)
            need(not self.times and not self.records and not self.entries, "a range behind others")
            if self.ranges:
                last = self.ranges[-1]
                need(last.query.text == r.query.text, "two queries")
                need(last.origin != r.origin or last.head == r.head, "two heads of one log")
                need((last.origin.encode(), last.first + last.count) <= (r.origin.encode(), r.first), "ranges that do not ascend")
            self.ranges.append(r)
        elif kind == SIGNED:
            need(self.ranges and not self.times and not self.records and not self.entries, "frames without a range")
            self.ranges[-1].take_frames(part, Header)
        elif kind == TIMES:
            need(self.ranges and not self.records and not self.entries, "times without a range")
            t = Times(part, self.archive, self.ranges[0].query)
            need(not self.times or self.times[-1].log.encode() < t.log.encode(), "times that do not ascend")
            self.times.append(t)
            self.times_by[t.log] = t
        elif ROOT <= kind <= REMOVED or kind == LOGS:
            need(self.entries, "a part without its entry")
            self.entries[-1].take(kind, part)
        elif kind in (COSIGNED, ANCHORED):
            v = Vouch(kind, part)
            need(not self.vouches or self.vouches[-1].kind == kind == COSIGNED or self.vouches[-1].order() < v.order(), "parts that do not ascend")
            self.vouches.append(v)
        else:
            self.missing.append(["archive", "unknown"])

    def control(self):
        head = None
        for e in self.entries:
            need(e.archive == self.archive, "an entry of another archive")
            if e.proof is None:
                continue
            need(head is None or head.checkpoint == e.proof.checkpoint, "two heads of the control log")
            need(head is None or head.index < e.proof.index, "entries that do not ascend")
            e.proof.check(entry_hash(e.data), self.name + "/control", self.log)
            head = e.proof
        self.head = head
        if head is None:
            self.missing.append(["archive", "control"])
            return
        self.say("archive", "control", str(self.log), "size %d, root %s" % (head.size, base64.b64encode(head.root).decode()))

    def rosters(self):
        for i, e in enumerate(self.entries):
            start, place = self.bind(i, e)
            if not start or e.type not in ("roster", "policy"):
                continue
            need(e.by == self.root.name, "a roster that is not the policy root's")
            self.root.open(e.data)
            body(e)
            if e.type == "policy":
                lines = list(policy_names(e.body))
            else:
                lines = []
                if e.names:
                    need(e.names.root(e.body["names"]) == b64(e.body["root"]), "lines that are not in the roster")
                    lines = e.names.text.split("\n")
            self.sources.append((start, place, lines, e, set()))
            self.say("archive", "roster", str(self.root), "%s of version %d, %s" % (e.type, e.body["version"], place))
        if not self.sources:
            self.missing.append(["archive", "roster"])
        self.index()

    def bind(self, i, e):
        """From which size of the control log on a roster or policy counts, and where it is. Without its proof, one counts that the heads behind it name."""
        heads = self.entries[i + 1] if i + 1 < len(self.entries) else None
        if heads and heads.proof and heads.proof.index and heads.type == "heads" and "roster" in heads.body:
            named = heads.body["roster"] == sha(e.data).hex()
            need(named or e.proof, "an entry without proof, and the heads behind it name another roster")
            if named and e.type == "roster":
                need(e.proof is None, "a roster with a proof that it does not need")
                e.bound = True
                return heads.proof.index, "before entry %d" % heads.proof.index
        return (e.proof.index + 1, "entry %d" % e.proof.index) if e.proof else (0, "")

    def index(self):
        """Who is named where: by role and name of a key, and by the key of a writer; the first line of each roster or policy."""
        self.by_name, self.by_key = {}, {}
        for place, (_, _, lines, _, _) in enumerate(self.sources):
            for line in lines:
                role, _, rest = line.partition(" ")
                if role == "writer":
                    to, what, v = self.by_key, writer_of(rest), None
                else:
                    v = key_of(rest)
                    to, what = self.by_name, v and (role, v.name)
                if what and (what not in to or to[what][-1][0] != place):
                    to.setdefault(what, []).append((place, line, v))

    def use(self, place, line):
        _, where, _, e, used = self.sources[place]
        used.add(line)
        e.used = True
        return where if e.bound else "by " + where

    def named(self, role, name, before):
        """The key of who was named in a role before an entry: rosters and policies ascend."""
        known = self.by_name.get((role, name), [])
        at = bisect_right(known, before, key=lambda x: self.sources[x[0]][0]) - 1
        if at < 0:
            return None
        self.use(*known[at][:2])
        return known[at][2]

    def signer(self, e, *roles):
        """The key of who signed an entry, in one of some roles; None if nothing here names them."""
        key = None
        for role in roles:
            if role == "root" and e.by == self.root.name:
                key = self.root
            key = key or self.named(role, e.by, e.proof.index)
        if key:
            key.open(e.data)
        return key

    def record(self, r):
        about, h, leaf = r.about(), r.header, r.leaf
        need(h.archive == self.archive and h.stream == leaf.stream and h.first <= leaf.seq < h.first + h.count, "not the frame of the leaf")
        cert = self.streams.get(leaf.stream)
        need(cert, "the certificate of its stream is not here")
        need(cert.archive == h.archive and cert.partition == h.partition, "a certificate for another partition")
        h.signed_by(cert.key)
        by = "stream " + cert.stream.hex()
        self.say(about, "signed", by, "leaf %s, seq %d" % (base64.b64encode(r.hash).decode(), leaf.seq))
        self.writer(about, cert)
        self.in_log(r, about)
        self.disclosed(r, about, by, cert)

    def writer(self, about, cert):
        """Who let a stream sign."""
        self.say(about, "certified", "service key " + cert.service_key.hex(), "stream of " + cert.service)
        known = self.by_key.get(base64.b64encode(cert.service_key).decode())
        if known:
            place, line, _ = known[-1]
            words = line.split(" ", 3)
            self.say(about, "writer", str(self.root), "writer %s %s" % (", ".join(words[1:2] + words[3:]), self.use(place, line)))
        else:
            self.missing.append([about, "writer"])

    def logged_heads(self):
        """The heads that the control log has, by their bytes and by the hashes of their commits."""
        self.by_head, self.by_commit = {}, {}
        for e in self.entries:
            if e.proof is None or e.type != "heads":
                continue
            for x in body(e)["heads"] or []:
                self.by_head.setdefault(x["checkpoint"].encode(), (e, x))
                self.by_commit.setdefault(x["hash"], (e, x))

    def head_of(self, checkpoint):
        """The entry of the control log that has a head of a data log."""
        e, x = self.by_head.get(checkpoint, (None, None))
        if e:
            e.used = True
        return e, x

    def in_log(self, r, about):
        if not r.log and in_range(self, r, about):
            return
        entry, head = self.head_of(r.log.checkpoint) if r.log else (None, None)
        if not head:
            self.missing.append([about, "log"])
            return
        need(head["log"].startswith("%s/%d/" % (self.name, r.header.partition)), "a log of another partition")
        key = self.named("compactor", entry.by, entry.proof.index)
        if not key:
            self.missing.append([about, "log"])
            return
        key.open_entry(entry)
        r.log.check(r.hash, head["log"], key)
        self.say(about, "log", str(key), "%s leaf %d of %d, root %s" % (head["log"], r.log.index, r.log.size, base64.b64encode(r.log.root).decode()))
        self.say(about, "head", str(self.log), "entry %d of %d, commit %d" % (entry.proof.index, self.head.size, head["commit"]))

    def disclosed(self, r, about, by, cert):
        def field(name, value):
            kept = ", withheld, as its redaction failed" * (r.leaf.flags & 1) + ", cut short at its source" * (r.leaf.flags >> 4 & 1)
            self.say(about, "field", by, "%s, %s, SHA-256 %s%s" % (name, counted(len(value), "byte"), sha(value).hex(), kept if name == "body" else ""))

        if r.fields:
            need(sha(b"stele/commit/v1\0", *[h for h, _ in r.fields]) == r.leaf.commitment, "the fields are not what was committed to")
            need(any(v is not None for _, v in r.fields), "it shows no field")
            for name, (_, value) in zip(FIELD_NAMES, r.fields):
                if value is not None:
                    field(name, value)
        if not r.scope:
            return
        s, h = r.scope, r.scope.header
        need(h.archive == self.archive and h.stream == r.leaf.stream and h.partition == r.header.partition, "a scope of another stream")
        need(s.root == h.entries and h.first <= r.leaf.seq, "the scope is not in that frame")
        need(s.id == r.leaf.scope and s.klass == r.leaf.clear[0], "not the scope of the record")
        h.signed_by(cert.key)
        self.say(about, "scope", by, "%s, key check value %s" % (s.id.hex(), s.kcv.hex()))
        went = self.gone.get(s.id + s.kcv[:16])
        if went:
            x = went[0][0]
            for part in (part for y, part in went if y is x and part):
                part.used = True
            self.say(about, "forgotten", x.by, "its key went with " + x.about)
        for f, (name, shown) in enumerate(zip(SCOPE_NAMES, s.names), 16):
            if shown:
                need(sha(shown[0], bytes([f]), shown[1]) == s.commitments[f - 16], "the %s is not what was committed to" % name)
                field(name, shown[1])

    def left_over(self):
        for e in self.entries:
            need(e.used or not (e.proof or e.bound), "an entry that nothing needs")
            if not (e.proof or e.bound):
                self.missing.append(["archive", "control"])
        need(all(r.used for x in self.erased for r in x.e.removed), "a path that no record needs")
        for _, _, lines, e, used in self.sources:
            need(e.type == "policy" or set(lines) == used, "a name that nothing needs")


def answer(trust, data):
    try:
        c = Checker(trust, data)
        return {"code": code(c.missing), "holds": c.holds, "missing": c.missing}
    except Format as e:
        return {"code": 3, "error": "format", "why": str(e)}
    except (Failed, KeyError, TypeError, ValueError, AttributeError) as e:
        return {"code": 10, "error": "failed", "why": "%s: %s" % (type(e).__name__, e)}


def code(missing):
    """The exit code of a file that holds."""
    beside = ("witness", "quorum", "anchor", "others", "unknown", "open", "archive")
    if not all(what in beside for _, what in missing):
        return 11
    return 12 if any(what in ("quorum", "anchor") for _, what in missing) else 0


def printable(text):
    """A line that a terminal shows as it is: what a file says can be anything."""
    return "".join(c if c.isprintable() else "\u00b7" for c in text)


def main(args):
    if args == ["--batch"]:
        for line in sys.stdin:
            q = json.loads(line)
            print(json.dumps(answer(base64.b64decode(q["trust"]), base64.b64decode(q["file"]))), flush=True)
        return 0
    if len(args) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(args[0], "rb") as t, open(args[1], "rb") as f:
            trust, data = t.read(), f.read(MAX_PACKED + 1)
    except OSError as e:
        print(printable(str(e)), file=sys.stderr)
        return 1
    if not trust.startswith(b"stele-trust/"):
        print(printable("%s is no trust file: write verify.py trust.stele FILE" % args[0]), file=sys.stderr)
        return 1
    a = answer(trust, data)
    if "error" in a:
        print(printable("%s: %s" % (a["error"], a["why"])), file=sys.stderr)
        return a["code"]
    for about, what, by, detail in a["holds"]:
        print(printable("holds      %s: %s: %s, by %s" % (about, what, detail, by)))
    for about, what in a["missing"]:
        print(printable("not shown  %s: %s" % (about, what)))
    return a["code"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
