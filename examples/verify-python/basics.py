"""Hashes, keys, notes and proofs, as docs/formats has them."""
import base64
import binascii
import hashlib
import json
import re
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


MAX_DEPTH = 64


class Format(Exception):
    """This is no evidence file, or it is damaged."""


class Failed(Exception):
    """Something in it does not hold: it shows nothing."""


def need(ok, why):
    if not ok:
        raise Failed(why)


def counted(n, noun):
    """So many of something, in words."""
    return "%d %s" % (n, noun if n == 1 else noun + ("es" if noun == "match" else "s"))


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(data):
    return sha(b"\0", data)


def entry_hash(entry):
    """The leaf hash of an entry of the control log. One that is too long for a leaf has its hash there."""
    if len(entry) > 65535:
        entry = b"stele/entry-hash/v1\n%s\n" % sha(entry).hex().encode()
    return leaf_hash(entry)


def b64(text, write=False):
    """Base64 in its one spelling."""
    if write:
        return base64.b64encode(text).decode()
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Failed("base64: %s" % e)
    need(base64.b64encode(raw).decode() == text, "base64 with unused bits")
    return raw


def verify(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def is_name(name):
    """Whether a key can have this name (c2sp.org/signed-note)."""
    return name and "+" not in name and not any(c.isspace() for c in name)


class Key:
    """A C2SP verifier key."""

    kind = 1

    def __init__(self, vkey):
        name, _, rest = vkey.partition("+")
        digits, _, raw = rest.partition("+")
        raw = b64(raw)
        need(len(raw) == 33 and raw[0] == self.kind and is_name(name), "no Ed25519 key: " + vkey)
        self.name, self.key, self.id = name, raw[1:], sha(name.encode(), b"\n", raw)[:4]
        need(digits == self.id.hex(), "key with a wrong hash: " + vkey)

    def __str__(self):
        return "%s+%s" % (self.name, self.id.hex())

    def open(self, note):
        """Returns the text of a note with exactly one signature, which must be by this key."""
        text, name, raw = split_note(note)
        need(name == self.name and raw[:4] == self.id, "signed by %s, not by %s" % (name, self))
        need(len(raw) == 68 and verify(self.key, raw[4:], text.encode()), "the signature of %s does not hold" % self)
        return text

    def open_entry(self, entry):
        """Checks the signature of an entry, once for a key."""
        if entry.opened != (self.name, self.key):
            self.open(entry.data)
            entry.opened = self.name, self.key


def note_lines(note):
    """The text of a note and its signatures: name, and key id with signature."""
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise Failed("a note that is no text")
    need(not any(ord(c) < 0x20 and c != "\n" for c in whole), "a note with control characters")
    text, found, sigs = whole.rpartition("\n\n")
    need(found and sigs.endswith("\n"), "a note without signature")
    lines = []
    for line in sigs[:-1].split("\n"):
        need(line.startswith("\u2014 "), "a line that is no signature")
        name, _, raw = line[2:].partition(" ")
        raw = b64(raw)
        need(is_name(name) and len(raw) >= 5, "a signature without key")
        lines.append((name, raw))
    need(len(lines) <= 100, "too many signatures")
    return text + "\n", lines


def split_note(note):
    """A note with exactly one signature."""
    text, lines = note_lines(note)
    need(len(lines) == 1, "a note without exactly one signature")
    return text, *lines[0]


def integer(digits):
    n = int(digits)
    need(-(1 << 63) <= n < 1 << 64, "a number that is too large")
    return n


def refused(digits):
    raise Failed("no number: " + digits)


def once(pairs):
    need(len({name for name, _ in pairs}) == len(pairs), "a member twice")
    return dict(pairs)


def deep(v, left):
    need(left, "JSON that is nested too deep")
    for x in v.values() if type(v) is dict else v if type(v) is list else ():
        deep(x, left - 1)


def strict_json(text):
    """JSON in a line, written in the one way that is allowed: whoever reads it reads the same."""
    try:
        v = json.loads(text, object_pairs_hook=once, parse_int=integer, parse_float=refused, parse_constant=refused)
        deep(v, MAX_DEPTH)
        again = json.dumps(v, separators=(",", ":"), ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    except (ValueError, RecursionError) as x:
        raise Failed("no JSON: %s" % x)
    need(again == text.removesuffix("\n"), "JSON that is not written as it must be")
    return v


# Times: any year that RFC 3339 can write, which datetime cannot.


def days(year, month, day):
    """Days since 1970, in the calendar of RFC 3339."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    need(1 <= month <= 12 and 1 <= day <= lengths[month - 1], "no such day")
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // 400 + sum(lengths[: month - 1]) + day - 719163


def instant(text):
    """RFC 3339 as nanoseconds since 1970."""
    m = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(\.\d{1,9})?(Z|([+-])([01]\d|2[0-3]):([0-5]\d))", text, re.ASCII)
    need(m, "no time: " + text)
    seconds = days(int(m[1]), int(m[2]), int(m[3])) * 86400 + int(m[4]) * 3600 + int(m[5]) * 60 + int(m[6])
    if m[9]:
        seconds -= int(m[9] + "1") * (int(m[10]) * 3600 + int(m[11]) * 60)
    return seconds * 10**9 + int((m[7] or ".0")[1:].ljust(9, "0"))


def written(ns, fraction=True):
    """Nanoseconds since 1970 as RFC 3339, in UTC."""
    seconds, part = divmod(ns, 10**9)
    day, second = divmod(seconds, 86400)
    year = 1970 + day // 366  # at most that; then count up
    while days(year + 1, 1, 1) <= day:
        year += 1
    while days(year, 1, 1) > day:
        year -= 1
    month = 1
    while month < 12 and days(year, month + 1, 1) <= day:
        month += 1
    tail = (".%09d" % part).rstrip("0").rstrip(".") if fraction else ""
    sign = "-" if year < 0 else ""
    return "%s%04d-%02d-%02dT%02d:%02d:%02d%sZ" % (sign, abs(year), month, day - days(year, month, 1) + 1, second // 3600, second // 60 % 60, second % 60, tail)


def stamp(text):
    return written(instant(text), fraction=False)


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(n <= len(self.data) - self.at, "it ends early")
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack("<H", self.take(2))[0]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def u64(self):
        return struct.unpack("<Q", self.take(8))[0]

    def uv(self):
        value = shift = 0
        while True:
            b = self.u8()
            value |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                need(value < 1 << 64 and (b or shift == 7), "a number in a longer form than it needs")
                return value
            need(shift < 70, "a number that is too long")

    def path(self):
        return [self.take(32) for _ in range(self.u8())]

    def value(self):
        salt = self.take(16)
        return salt, self.take(self.uv())

    def end(self):
        need(self.at == len(self.data), "bytes that mean nothing")


def root_of(leaf, index, size, path):
    """Follows an inclusion proof as in docs/formats/tree.md."""
    need(index < size <= (1 << 63) - 1, "no such leaf in a tree of this size")
    path, last, r = list(path), size - 1, leaf
    while last > 0:
        if index & 1 or index < last:
            need(path, "the path is too short")
            p = path.pop(0)
            r = sha(b"\1", p, r) if index & 1 else sha(b"\1", r, p)
        index, last = index >> 1, last >> 1
    need(not path, "the path is too long")
    return r


def steps(index, size):
    n, last = 0, size - 1
    while last > 0:
        n += bool(index & 1 or index < last)
        index, last = index >> 1, last >> 1
    return n


def root_of_consistency(way, m, old, n, new):
    """Checks that the tree of m leaves is a prefix of that of n, as in docs/formats/tree.md."""
    need(0 < m <= n <= (1 << 63) - 1, "a tree that is no longer than its prefix")
    if m == n:
        need(not way and old == new, "another tree of this size")
        return
    way, level = list(way), (m & -m).bit_length() - 1
    i, last = (m >> level) - 1, (n - 1) >> level
    need(way or i == 0, "the path is too short")
    a = b = old if i == 0 else way.pop(0)
    while last > 0:
        if i & 1 or i < last:
            need(way, "the path is too short")
            p = way.pop(0)
            if i & 1:
                a, b = sha(b"\1", p, a), sha(b"\1", p, b)
            else:
                b = sha(b"\1", b, p)
        i, last = i >> 1, last >> 1
    need(not way and a == old and b == new, "one tree does not continue the other")


def decimal(text):
    need(text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and int(text) < 1 << 63, "no number: " + text)
    return int(text)


class Proof:
    """A c2sp.org/tlog-proof@v1 text."""

    def __init__(self, data):
        head, found, self.checkpoint = data.partition(b"\n\n")
        need(found, "a proof without checkpoint")
        try:
            lines = head.decode().split("\n")
        except UnicodeDecodeError:
            raise Failed("a proof that is no text")
        need(lines[0] == "c2sp.org/tlog-proof@v1" and len(lines) > 1 and lines[1].startswith("index "), "no tlog-proof")
        self.index = decimal(lines[1][6:])
        self.path = [b64(line) for line in lines[2:]]
        need(len(self.path) <= 63 and all(len(h) == 32 for h in self.path), "a path of no hashes")
        self.read(split_note(self.checkpoint)[0])
        need(self.index < self.size and len(self.path) == steps(self.index, self.size), "a path of another length")

    def read(self, text):
        body = text.split("\n")
        need(len(body) == 4 and not body[3] and body[0] and all(c >= " " for c in body[0]), "no checkpoint")
        self.origin, self.size, self.root = body[0], decimal(body[1]), b64(body[2])
        need(len(self.root) == 32, "no root")

    @classmethod
    def body(cls, text):
        """A checkpoint alone."""
        p = cls.__new__(cls)
        p.read(text)
        return p

    def check(self, leaf, origin, key):
        key.open(self.checkpoint)
        need(self.origin == origin, "a head of %s, not of %s" % (self.origin, origin))
        need(root_of(leaf, self.index, self.size, self.path) == self.root, "the proof leads to another root")
