"""Certificates: what was erased, who decided it, that nothing else went, and when nobody can open it any more."""

from basics import Cursor, b64, counted, instant, leaf_hash, need, root_of, sha, stamp, strict_json
from entries import SELECTOR, STATEMENT, body
from records import RootRecord

BUCKET, ZERO_HASH, MAX_RUNS, MIN_NODE, MAX_NODE, MAX_PATH = 8, bytes(32), 64, 5, 8192, 64


# Tries: docs/formats/keys.md, Shape, Node and Proofs.


def bits(path, n=None):
    text = "".join("{:08b}".format(b) for b in path)
    return text if n is None else text[:n]


def read_paths(c, limit):
    """A sorted set of paths, none a prefix of another, each by what it does not share with the one before."""
    n, out, last = c.uv(), [], b""
    need(n <= limit, "too many paths")
    for i in range(n):
        head = c.u8()
        length = c.u8() if head & 1 else len(last)
        need(not head & 1 or length != len(last), "a length that need not be said")
        s = head >> 1
        need(s <= len(last) and s < length <= MAX_PATH, "a path out of range")
        path = last[:s] + c.take(length - s)
        need(not i or s < len(last) and path[s] > last[s], "paths that do not ascend")
        out.append(path)
        last = path
    return out


def write_paths(paths):
    out, last = uv(len(paths)), b""
    for p in paths:
        s = 0
        while s < min(len(p), len(last)) and p[s] == last[s]:
            s += 1
        out += bytes([2 * s]) if len(p) == len(last) else bytes([2 * s + 1, len(p)])
        out += p[s:]
        last = p
    return out


def uv(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def commit(shape):
    return sha(b"stele/keytrie/v1", shape)


class Below:
    """What is known to lie below some bits: a path, or a node that stays as it is."""

    def __init__(self, known, count, node=None, path=None):
        self.known, self.count, self.node, self.path = known, count, node, path


class Proof:
    """Shapes of a trie, by their commitments."""

    def __init__(self, data):
        c = Cursor(data)
        need(c.take(8) == b"STLW\1\0\0\0", "no proof of version 1")
        self.shapes, self.used, last = {}, set(), b""
        for _ in range(c.uv()):
            n = c.uv()
            need(MIN_NODE <= n <= MAX_NODE, "a node out of range")
            shape = c.take(n)
            h = commit(shape)
            need(last < h, "nodes that do not ascend")
            self.shapes[h] = shape
            last = h
        c.end()

    def load(self, h, count, known):
        """The paths of a bucket, or what an inner node has below it."""
        need(h in self.shapes, "the proof lacks a node")
        self.used.add(h)
        c = Cursor(self.shapes[h])
        kind = c.u8()
        if kind == 2:
            out = [Below(bits(p), 1, path=p) for p in read_paths(c, BUCKET)]
            need(out and all(b.known.startswith(known) for b in out), "a path that does not belong there")
        else:
            need(kind == 1, "no such kind of node")
            out = self.inner(c, known)
        c.end()
        need(sum(b.count for b in out) == count, "a node with another number of paths")
        return kind == 1, out

    def inner(self, c, known):
        n = c.u8()
        need(n <= 2 * MAX_PATH, "skips too much")
        skip = bits(c.take((n + 1) // 2))
        need(set(skip[4 * n :]) <= {"0"}, "a half byte that must be zero is not")
        known += skip[: 4 * n]
        named, order = c.u32(), []
        at = 0
        while at < 16:
            step = 1
            for length in range(1, 5):
                code = 1 << length | at >> 4 - length
                if named >> code & 1 and (code - (1 << length)) << 4 - length == at:
                    order.append((code, length))
                    step = 16 >> length
                    break
            at += step
        need(len(order) > 1 and len(order) == bin(named).count("1"), "slots that overlap, or are too few")
        out, below = [], {}
        for code, length in order:
            h, count = c.take(32), c.uv()
            need(0 < count <= 1 << 56 and (length == 4 or count <= BUCKET), "a slot with too many paths, or none")
            here = known + bin(code)[3:]
            need(len(here) <= 8 * MAX_PATH, "deeper than a path is long")
            out.append(Below(here, count, node=h))
            while code > 1:
                below[code] = below.get(code, 0) + count
                code >>= 1
        need(sum(b.count for b in out) > BUCKET, "an inner node with too few paths")
        need(all(code >> 1 == 1 or below[code >> 1] > BUCKET for code, _ in order), "slots that are not divided as they must be")
        return out

    def remove(self, h, count, gone):
        """Takes paths out, each of which must be there; returns the count and commitment of what is left."""
        if not gone:
            need(not self.shapes, "a proof of nothing")
            return count, h
        need(count, "nothing to take out of")
        left, _ = self.without(Below("", count, node=h), sorted(gone))
        out = self.shape(left, 0)
        need(len(self.used) == len(self.shapes), "nodes that are not needed")
        return sum(b.count for b in left), out

    def without(self, node, gone):
        is_inner, parts = self.load(node.node, node.count, node.known)
        if not is_inner:
            left = [b for b in parts if b.path not in gone]
            need(len(left) + len(gone) == len(parts), "a path that was not there")
            return left, True
        left, seen = [], 0
        for b in parts:
            here = [p for p in gone if bits(p, len(b.known)) == b.known]
            seen += len(here)
            left += self.without(b, here)[0] if here else [b]
        need(seen == len(gone), "a path that was not there")
        return left, True

    def entries(self, parts):
        out = []
        for b in parts:
            if b.node:
                is_inner, below = self.load(b.node, b.count, b.known)
                need(not is_inner, "not a bucket")
                out += [x.path for x in below]
            else:
                out.append(b.path)
        return out

    def shape(self, parts, start):
        """The commitment of the node of these parts that begins at a nibble; zeros without any."""
        total = sum(b.count for b in parts)
        if not parts:
            return ZERO_HASH
        if len(parts) == 1 and parts[0].node and (total <= BUCKET or len(parts[0].known) == 4 * start):
            return parts[0].node
        if total <= BUCKET:
            return commit(b"\2" + write_paths(self.entries(parts)))
        if len(parts) == 1:
            _, parts = self.load(parts[0].node, parts[0].count, parts[0].known)
        first, last, shared = parts[0].known, parts[-1].known, 0
        while first[shared] == last[shared]:
            shared += 1
        at = shared // 4
        nibbles = [int(first[4 * i : 4 * i + 4], 2) for i in range(start, at)]
        packed = nibbles + [0] * (len(nibbles) % 2)
        slots = sorted(self.divide(parts, 4 * at, 1))
        named = sum(1 << code for _, code, _, _ in slots)
        return commit(
            bytes([1, len(nibbles)])
            + bytes(a << 4 | b for a, b in zip(packed[::2], packed[1::2]))
            + named.to_bytes(4, "little")
            + b"".join(h + uv(n) for _, _, h, n in slots)
        )

    def divide(self, parts, at, code):
        """Slots: (where it begins, code, commitment, count)."""
        for bit in "01":
            half = [b for b in parts if b.known[at] == bit]
            next_code, depth = code << 1 | int(bit), code.bit_length()
            if not half:
                continue
            if sum(b.count for b in half) <= BUCKET or depth == 4:
                where = (next_code - (1 << depth)) << 4 - depth
                yield where, next_code, self.shape(half, at // 4 + 1), sum(b.count for b in half)
            else:
                yield from self.divide(half, at + 1, next_code)


def read_proofs(data):
    c, out = Cursor(data), []
    n = c.uv()
    need(n <= MAX_RUNS, "too many runs")
    for _ in range(n):
        out.append(Proof(c.take(c.uv())))
    c.end()
    return out


class List:
    """A list of erased paths."""

    def __init__(self, archive, data):
        c = Cursor(data)
        need(c.take(8) == b"STLX\1\0\0\0" and c.take(16) == archive, "no list of this archive")
        n = c.uv()
        need(n <= MAX_RUNS, "too many runs")
        self.removed = [read_paths(c, 1 << 40) for _ in range(n)]
        self.spent = read_paths(c, 1 << 40)
        c.end()

    def all(self):
        return [p for run in self.removed for p in run]


def tree_root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1", tree_root(leaves[:k]), tree_root(leaves[k:]))


def is_scope(path):
    return len(path) == 35 and path[0] in (0x10, 0x11)


def dead_from(sets, times):
    """The least time at which those whose copy is irrecoverable hit every set."""
    for at in sorted(times.values(), key=instant):
        if all(any(name in times and instant(times[name]) <= instant(at) for name in s) for s in sets):
            return at
    return None


class Erasure:
    """One erased entry, judged within a checker."""

    def __init__(self, c, entry):
        self.c, self.e, self.b, self.hash = c, entry, {"spent": 0, **body(entry)}, sha(entry.data)
        self.about, self.list, self.sets = "erasure " + self.hash[:8].hex(), None, None
        entry.used = True

    def say(self, what, detail, by=None):
        self.c.say(self.about, what, by or self.by, detail)

    def miss(self, what):
        self.c.missing.append([self.about, what])

    def judge(self):
        b, e = self.b, self.e
        key = self.c.signer(e, "keyservice")
        if not key:
            self.miss("erased")
            return self.use_up()
        self.by = str(key)
        need((b["cause"] == "request") == bool(self.asked()) and len(set(self.asked())) == len(self.asked()), "an erasure for requests that it does not name, or for none that names some")
        need(b["to"] == b["from"] + 1 and b["root"]["n"] > b["before"]["n"] and b["control"] <= e.proof.index, "no step from one generation to the next")
        self.say("erased", "%s, generation %d to %d, cause %s, %s, entry %d" % (counted(b["scopes"], "scope"), b["from"], b["to"], b["cause"], stamp(e.time), e.proof.index))
        self.requests()
        self.records()
        self.removed()
        self.later()
        self.custody()
        self.late()
        self.c.erased.append(self)
        self.times()

    def asked(self):
        return [o["request"] for o in self.b.get("requests") or []]

    def use_up(self):
        about = self.c.about
        for id in self.asked():
            for g in [about.request.get(id)] + about.approve.get(id, []) + about.supplement.get(id, []):
                if g:
                    g.used = True
        for g in about.destroyed.get(self.hash.hex(), []):
            g.used = True

    def requests(self):
        there = 0
        for o in self.b.get("requests") or []:
            id = o["request"]
            r = self.c.about.request.get(id)
            if r:  # others of the same batch are others' business
                there += 1
                r.used = True
                self.request(r, id, o)
        if self.asked() and not there:
            self.miss("request")
        if self.b["cause"] != "request":
            self.miss("approved")
        if self.b.get("single"):
            self.say("single-control", "decided by fewer than two persons with keys of their own")

    def request(self, r, id, o):
        select = body(r)["select"]
        need(r.body["what"] == "erase" and r.proof.index < self.e.proof.index, "a request that cannot have led to this")
        key = self.c.signer(r, "root", "approver", "holder", "reader")
        if key:
            self.say("request", "request %s, by %s, %s, entry %d: %s" % (id, select["kind"], stamp(r.time), r.proof.index, went(o)), str(key))
        else:
            self.miss("request")
        self.stayed(id, o)
        if r.line is not None:
            need(sha(b"stele/selector/v1\0", r.line).hex() == select["salted"], "the selection is not the one that the request names")
            s = selector(r.line)
            need(s["archive"] == self.c.archive.hex() and s["kind"] == select["kind"], "a selection of another kind")
            self.say("selection", ("%s %s" % (s["kind"], s.get("value", ""))).strip(), r.by)
        self.approvals(r, id)

    def stayed(self, id, o):
        """What the last erasure of the file for a request did not take; where only some paths are shown, "others" says so."""
        if self.c.about.last[id] is not self.e or self.e.removed:
            return
        if o.get("left"):
            self.miss("erased")
        if o.get("held") or o.get("retained"):
            self.miss("open")

    def approvals(self, r, id):
        persons, root, approvers = set(), False, 0
        for g in self.c.about.approve.get(id, []):
            g.used = True
            need(r.proof.index < g.proof.index < self.e.proof.index and instant(g.time) <= instant(r.body["until"]), "an approval too early or too late")
            key = self.c.signer(g, "root", "approver")
            if not key:
                self.miss("approved")
                continue
            need(g.by not in persons and key.key not in persons, "a request approved twice by one person")
            persons |= {g.by, key.key}
            root = root or key is self.c.root
            approvers += key is not self.c.root
            self.say("approved", "request %s, %s, entry %d" % (id, stamp(g.time), g.proof.index), str(key))
        if approvers < 2:
            need(not root or self.b.get("single"), "approved by the policy root and no two approvers, and it does not say so")
            if not root:
                self.miss("approved")

    def record(self, data, want):
        r = RootRecord(data)
        need(sha(data).hex() == want["hash"] and r.n == want["n"] and r.r["archive"] == self.c.archive.hex(), "a root record that the erasure does not name")
        key = self.c.named("keyservice", r.by, self.e.proof.index)
        if key:
            key.open(data)
        return r if key else None

    def records(self):
        b = self.b
        if len(self.e.roots) < 2:
            return self.miss("records")
        before, after = self.record(self.e.roots[0], b["before"]), self.record(self.e.roots[1], b["root"])
        if not before or not after:
            return self.miss("records")
        after.succeeds(before)
        x = after.r["erased"]
        need(before.r["generation"] == b["from"] and after.r["generation"] == b["to"] and after.r["control"] == b["control"], "root records of another step")
        same = x["list"] == b["list"] and x["root"] == b["paths"] and all(x[m] == b[m] for m in ("scopes", "removed", "spent"))
        need(same and x["cause"] == b["cause"] and x["requests"] == (b.get("requests") or []), "the root record says something else")
        self.sets = before.r["custody"]["sets"]
        self.say("records", "record %d to %d, %s to %d" % (before.n, after.n, counted(before.r["live"], "key"), after.r["live"]))
        self.difference(before, after)

    def difference(self, before, after):
        b, data = self.b, self.e.list
        if self.e.removed:
            return
        if data is None:
            return self.miss("list")
        need(sha(data).hex() == b["list"], "another list")
        got = List(self.c.archive, data)
        paths = got.all()
        need(tree_root([leaf_hash(p) for p in paths]) == b64(b["paths"]) and len(paths) == b["removed"], "the list has other paths")
        need(sum(map(is_scope, paths)) == b["scopes"] and len(got.spent) == b["spent"], "the list has other counts")
        self.list = paths
        self.say("list", "%s, SHA-256 %s" % (counted(b["removed"], "path"), b["list"]))
        if self.e.proofs is None:
            return self.miss("difference")
        n, added = len(before.runs), len(after.runs) - len(before.runs)
        need(len(got.removed) == len(self.e.proofs) == n and (added or not got.spent), "another number of runs")
        need(all(len(p) == 35 and p[0] == 0x14 for p in got.spent), "a path that is no spent path")
        for i, (proof, gone) in enumerate(zip(self.e.proofs, got.removed)):
            need(proof.remove(before.runs[i][1], before.runs[i][0], gone) == after.runs[i], "a run lost other paths than those of the list")
        if added:
            nothing = Proof(b"STLW\1\0\0\0\0")
            spent = nothing.shape([Below(bits(p), 1, path=p) for p in got.spent], 0)
            need((len(got.spent), spent) == after.runs[n], "the run that was added has other paths")
        self.say("difference", "all paths of the list were there, are gone, and no other went")

    def removed(self):
        if self.e.removed:
            self.miss("others")
        for r in self.e.removed:
            need(root_of(leaf_hash(r.path), r.index, self.b["removed"], r.proof) == b64(self.b["paths"]), "a path that is not in the list")

    def later(self):
        b = self.b = dict(self.b)
        self.said, self.last = [(d, self.by) for d in b.get("custody") or []], self.by
        for g in self.c.about.destroyed.get(self.hash.hex(), []):
            g.used = True
            key = self.c.signer(g, "keyservice")
            if not key:
                self.miss("custodian")
                continue
            self.last = str(key)
            need(g.proof.index > self.e.proof.index and g.body["watermark"] >= b["watermark"], "a destruction before its erasure, or one that goes back")
            self.said += [(d, self.last) for d in g.body.get("custody") or []]
            for m in ("watermark", "archive", "open"):
                b[m] = g.body.get(m)

    def custody(self):
        b, gone, times = self.b, set(), {}
        for d, by in self.said:
            self.statement(d)
            if not d.get("destroyed"):
                continue
            detail = "%s, class %s, generation %d destroyed %s" % (d["custodian"], d["class"], d["generation"], stamp(d["destroyed"]))
            if d.get("irrecoverable"):
                detail += ", irrecoverable " + stamp(d["irrecoverable"])
            self.say("custodian", detail, by)
            if d["generation"] == b["from"]:
                gone.add(d["custodian"])
                if d.get("irrecoverable"):
                    times[d["custodian"]] = d["irrecoverable"]
        if self.sets is None:
            return self.miss("dead")
        sets, at = "[%s]" % " ".join("[%s]" % " ".join(s) for s in self.sets), dead_from(self.sets, times)
        if at:
            self.say("dead", "generation %d from %s: no set of %s can open it" % (b["from"], stamp(at), sets), self.last)
        elif all(any(name in gone for name in s) for s in self.sets):
            self.say("best-effort", "generation %d was destroyed by a blocking set of %s, of which no time can be stated" % (b["from"], sets), self.last)
        else:
            self.miss("dead")
        if b.get("archive"):
            need(at and instant(b["archive"]) >= instant(at) and b["watermark"] >= b["to"], "a time for the archive that its custodians do not give")

    def statement(self, d):
        if not d["statement"].startswith('{"stele":"custodian/v1",'):
            return  # custodians of others say it in their own form
        s = strict_json(d["statement"])
        STATEMENT(s)
        need(s["state"] in ("live", "destroyed", "unknown"), "a statement of no state")
        same = s["custodian"] == d["custodian"] and s["generation"] == d["generation"] and s["class"] == d["class"] and s["archive"] == self.c.archive.hex()
        times = [(d.get(m), s.get(m)) for m in ("destroyed", "irrecoverable")]
        need(same and all((x and instant(x)) == (y and instant(y)) for x, y in times), "the statement is not what the entry says of it")

    def late(self):
        about, seen = self.c.about, set()
        for g in sorted((g for id in self.asked() for g in about.supplement.get(id, [])), key=lambda g: g.proof.index):
            if g.used:
                continue
            g.used = True
            asked = about.request.get(g.body["request"])
            need(g.body.get("buried") and not g.body.get("dead") and not g.body.get("weeks"), "a supplement that counts nothing")
            need(not asked or asked.proof.index < g.proof.index, "a supplement before its request")
            this = g.body["request"], g.body["root"]["n"], g.body["root"]["hash"]
            need(this not in seen, "a root record that is counted twice for a request")
            seen.add(this)
            key = self.c.signer(g, "keyservice")
            if not key:
                self.miss("late")
                continue
            detail = "%s granted too late, root record %d, %s, entry %d" % (counted(g.body["buried"], "scope"), g.body["root"]["n"], stamp(g.time), g.proof.index)
            self.say("late", detail, str(key))

    def times(self):
        b = self.b
        if b.get("archive"):
            self.say("archive", "copies of the archive and of its backups: " + stamp(b["archive"]), self.last)
        else:
            self.miss("archive")
        self.say("transport", "copies of the grants transport: " + stamp(b["transport"]))
        for _ in b.get("open") or []:
            self.miss("open")


def went(o):
    """How many scopes went for a request, and how many that it selects did not."""
    text = counted(o["erased"], "scope")
    for what in ("whole", "held", "retained", "left"):
        if o.get(what):
            text += ", %d %s" % (o[what], what)
            if what == "retained" and o.get("until"):
                text += " until " + stamp(o["until"])
    return text


def selector(line):
    """What a request selects: docs/formats/control.md, Selections."""
    need(line.endswith(b"\n") and line.count(b"\n") == 1, "a selection of more or less than a line")
    try:
        s = strict_json(line.decode())
    except UnicodeDecodeError:
        need(False, "a selection that is no text")
    SELECTOR(s)
    need(s["stele"] == "selector/v1" and s["salt"].strip("0") and len(s.get("reason", "").encode()) <= 2000, "no selection")
    scopes = s.get("scopes", [])
    if s["kind"] in ("tenant", "subject", "session"):
        need("value" in s and s.get("tag", "").strip("0") and not scopes, "a selection that lacks a value or its tag, or has more")
    elif s["kind"] == "class":
        need("value" in s and "tag" not in s and not scopes, "a selection of a class that lacks its name, or has more")
    else:
        need(s["kind"] == "scopes" and 0 < len(scopes) <= 10000 and scopes == sorted(scopes) and "value" not in s and "tag" not in s, "no selection of scopes")
    return s


class About:
    """The entries of a file that are about requests and erasures, by the hash of those, in their order."""

    def __init__(self, entries):
        self.request, self.approve, self.supplement, self.destroyed, self.last = {}, {}, {}, {}, {}
        for g in entries:
            if not g.proof:
                continue
            if g.type == "erased":
                self.last.update((o["request"], g) for o in body(g).get("requests") or [])
            elif g.type == "request":
                self.request[sha(g.data).hex()] = g
            elif g.type == "approve":
                self.approve.setdefault(body(g)["request"], []).append(g)
            elif g.type == "supplement":
                self.supplement.setdefault(body(g).get("request"), []).append(g)
            elif g.type == "destroyed":
                self.destroyed.setdefault(body(g)["erased"], []).append(g)


def gone(erased):
    """What went: scope id and half of the key check value of each path, and the erasures and parts 13 that have it."""
    out = {}
    for x in erased:
        for path, part in [(p, None) for p in x.list or []] + [(r.path, r) for r in x.e.removed]:
            if is_scope(path):
                out.setdefault(path[3:35], []).append((x, part))
    return out
