"""The operations of an evidence file: what stands in it once, or follows from the rest, is put where it belongs."""
import base64
import struct
from datetime import datetime, timedelta, timezone

from basics import Cursor, entry_hash, leaf_hash, need, root_of, sha
from names import Names

MAX_LEN, MAX_PARTS = 64 << 20, 1 << 16
RECORD, LOG, ENTRY, CONTROL, NAMES = 1, 2, 6, 7, 8


def time_text(ns):
    t = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=ns // 10**9)
    fraction = (".%09d" % (ns % 10**9)).rstrip("0").rstrip(".")
    return (t.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z").encode()


def key_text(before, key):
    """The id of a key and the key, behind its name and a plus."""
    need(before.endswith(b"+"), "a key without name")
    name, raw = before[-256:-1], b"\1" + key
    name = name[max(name.rfind(c) for c in b' \n"') + 1 :]
    return sha(name, b"\n", raw)[:4].hex().encode() + b"+" + base64.b64encode(raw)


class Expander:
    def __init__(self, words, ops):
        self.words, self.used, self.ops = words, 0, Cursor(ops)
        self.named, self.seen, self.done, self.size = [], set(), [], 0
        self.leaf = {}  # of the last record and of the last entry, by the kind of the parts that prove its place
        self.hash, self.heads, self.open = None, [], None

    def parts(self):
        while self.ops.at < len(self.ops.data):
            need(len(self.done) < MAX_PARTS, "too many parts")
            self.part()
        need(32 * self.used == len(self.words) and not self.open, "a word without use, or a roster without lines")
        return self.done

    def part(self):
        kind, out, opened = self.ops.u8(), bytearray(), None
        while code := self.ops.uv():
            before = len(out)
            if code & 1 == 0:
                out += self.ops.take(code >> 1)
            elif code & 15 == 13 and code >> 4 == 1:
                need(kind == ENTRY and not self.open and not opened, "a root that nothing leads to")
                opened = len(out), self.ops.uv()
                out += b"=" * 44
            else:
                out += self.write(code >> 1 & 7, code >> 4, kind, out)
            self.size += len(out) - before
            need(self.size <= MAX_LEN, "it is too long")
        self.done.append((kind, bytes(out)))
        self.note(kind, bytes(out), opened)

    def note(self, kind, data, opened):
        """Notes what others follow from."""
        if self.open:
            need(kind == NAMES, "a roster without its lines")
            (at, size), (_, roster) = self.open, self.done[-2]
            self.open, root = None, base64.b64encode(Names(data).root(size))
            self.done[-2] = ENTRY, roster[:at] + root + roster[at + 44 :]
            self.note(*self.done[-2], None)
        elif opened:
            self.open = opened
        elif kind == RECORD:
            at = 185 + 32 * data[184] if len(data) > 184 else 1 << 62
            self.leaf[LOG] = leaf_hash(data[at:]) if at <= len(data) else None
        elif kind == ENTRY:
            self.leaf[CONTROL], self.hash = entry_hash(data), sha(data)
        elif kind == LOG:
            self.heads.append(data.partition(b"\n\n")[2])

    def name(self, w):
        if w not in self.seen:
            self.seen.add(w)
            self.named.append(w)

    def word(self, x):
        if x:
            need(x <= len(self.named), "no such word")
            return self.named[-x]
        w = self.words[32 * self.used :][:32]
        need(len(w) == 32 and w not in self.seen, "no word, or one that is there twice")
        self.used += 1
        self.name(w)
        return w

    def write(self, k, x, kind, out):
        ops = self.ops
        if k == 0:
            return self.word(x)
        if k == 1:
            return base64.b64encode(self.word(x))
        if k == 2:
            return self.word(x).hex().encode()
        if k == 3:
            pair = self.word(x) + self.word(ops.uv())
            return base64.b64encode(ops.take(4) + pair)
        if k == 4:
            return key_text(bytes(out[-256:]), self.word(x))
        if k == 5:
            return self.proof(x, kind, out)
        need(k == 6, "an unknown operation")
        if x == 0:
            return time_text(struct.unpack("<q", ops.take(8))[0])
        if x == 2:
            need(self.hash, "no entry before")
            self.name(self.hash)
            return self.hash.hex().encode()
        need(x - 2 <= len(self.heads), "no such checkpoint")
        return self.heads[2 - x].replace(b"\n", b"\\n")

    def proof(self, index, kind, out):
        size, n = index + self.ops.uv(), self.ops.uv()
        leaf = self.leaf.get(kind)
        need(leaf and not out and n < 64, "a proof of nothing")
        path = [self.word(self.ops.uv()) for _ in range(n)]
        origin = self.ops.take(self.ops.uv())
        root = root_of(leaf, index, size, path)
        self.name(root)
        lines = [b"c2sp.org/tlog-proof@v1", b"index %d" % index, *map(base64.b64encode, path), b"", origin, b"%d" % size, base64.b64encode(root), b""]
        return b"\n".join(lines)
