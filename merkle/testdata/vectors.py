#!/usr/bin/env python3
"""Makes the test vectors of this directory, independently of the Go package.

It follows the recursive definitions of RFC 6962 section 2.1, not the iterative
algorithms of the package. It needs the `cryptography` module for Ed25519.
Run it in this directory; its output is the same every time.
"""

import base64
import hashlib
import json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LIMIT = 2**63 - 1


def sha(data):
    return hashlib.sha256(data).digest()


def leaf_hash(data):
    return sha(b"\0" + data)


def node_hash(left, right):
    return sha(b"\1" + left + right)


def split(n):
    """The largest power of two smaller than n."""
    return 1 << ((n - 1).bit_length() - 1)


def root(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(root(leaves[:k]), root(leaves[k:]))


def prove_inclusion(m, leaves):
    n = len(leaves)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return prove_inclusion(m, leaves[:k]) + [root(leaves[k:])]
    return prove_inclusion(m - k, leaves[k:]) + [root(leaves[:k])]


def prove_consistency(m, leaves, whole=True):
    n = len(leaves)
    if m == n:
        return [] if whole else [root(leaves)]
    k = split(n)
    if m <= k:
        return prove_consistency(m, leaves[:k], whole) + [root(leaves[k:])]
    return prove_consistency(m - k, leaves[k:], False) + [root(leaves[:k])]


class Shape(Exception):
    """The path has the wrong length."""


def run_inclusion(m, n, leaf, path):
    if n == 1:
        if path:
            raise Shape
        return leaf
    if not path:
        raise Shape
    k = split(n)
    if m < k:
        return node_hash(run_inclusion(m, k, leaf, path[:-1]), path[-1])
    return node_hash(path[-1], run_inclusion(m - k, n - k, leaf, path[:-1]))


def run_consistency(m, n, old, path, whole=True):
    """Returns the roots of the old and the new tree that path leads to."""
    if m == n:
        if whole:
            if path:
                raise Shape
            return old, old
        if len(path) != 1:
            raise Shape
        return path[0], path[0]
    if not path:
        raise Shape
    k = split(n)
    if m <= k:
        o, w = run_consistency(m, k, old, path[:-1], whole)
        return o, node_hash(w, path[-1])
    o, w = run_consistency(m - k, n - k, old, path[:-1], False)
    return node_hash(path[-1], o), node_hash(path[-1], w)


def judge_inclusion(v):
    if v["size"] > LIMIT or v["index"] >= v["size"]:
        return "invalid"
    try:
        got = run_inclusion(v["index"], v["size"], v["leaf"], v["path"])
    except Shape:
        return "invalid"
    return "ok" if got == v["root"] else "mismatch"


def judge_consistency(v):
    m, n = v["old_size"], v["new_size"]
    if n > LIMIT or m > n:
        return "invalid"
    if m == 0:
        if v["path"]:
            return "invalid"
        return "ok" if v["old_root"] == sha(b"") else "mismatch old"
    try:
        old, new = run_consistency(m, n, v["old_root"], v["path"])
    except Shape:
        return "invalid"
    if old != v["old_root"]:
        return "mismatch old"
    return "ok" if new == v["new_root"] else "mismatch new"


def flip(h):
    return bytes([h[0] ^ 1]) + h[1:]


def mutate_path(path):
    junk = sha(b"junk")
    yield "path with an element in front", [junk] + path
    yield "path with an element behind", path + [junk]
    if len(path) < 2:
        yield "path that is far too long", path + [junk] * 70
    if path:
        yield "path without its first element", path[1:]
        yield "path without its last element", path[:-1]
        yield "no path", []
    if len(path) > 1:
        yield "path in reverse", path[::-1]
    for i in sorted({0, len(path) // 2, len(path) - 1}) if path else []:
        yield "bit flipped in path element %d" % i, path[:i] + [flip(path[i])] + path[i + 1:]


def mutations(v, numbers, hashes):
    yield "good", {}
    for name, path in mutate_path(v["path"]):
        yield name, {"path": path}
    for key in numbers:
        for value in sorted({v[key] - 1, v[key] + 1, 0, 2**63, 2**64 - 1}):
            if value >= 0 and value != v[key]:
                yield "%s %d" % (key, value), {key: value}
    for key in hashes:
        yield "bit flipped in " + key, {key: flip(v[key])}
        yield "empty root as " + key, {key: sha(b"")}


def text(v):
    if isinstance(v, bytes):
        return base64.b64encode(v).decode()
    if isinstance(v, list):
        return [text(x) for x in v]
    return v


def expand(bases, numbers, hashes, judge):
    out = []
    for base in bases:
        for name, change in mutations(base, numbers, hashes):
            v = {**base, **change}
            title = "%s: %s" % (", ".join("%s %d" % (k, base[k]) for k in numbers), name)
            out.append({"name": title, **{k: text(x) for k, x in v.items()}, "want": judge(v)})
    return out


LEAVES = [leaf_hash(bytes([i])) for i in range(130)]


def inclusion_bases():
    for n, indexes in [(1, [0]), (2, [0, 1]), (3, [0, 2]), (5, [1, 4]), (7, [0, 3, 5, 6]), (8, [0, 7]),
                       (33, [32, 31]), (130, [0, 64, 127, 128, 129])]:
        for m in indexes:
            yield {"index": m, "size": n, "leaf": LEAVES[m], "root": root(LEAVES[:n]),
                   "path": prove_inclusion(m, LEAVES[:n])}
    # Trees that nobody can build: any path of the right length leads to some root.
    for m, n in [(LIMIT - 1, LIMIT), (2**62, LIMIT), (123456789, 2**40 + 7)]:
        for length in range(64):
            path = [sha(b"path %d" % i) for i in range(length)]
            try:
                r = run_inclusion(m, n, LEAVES[0], path)
            except Shape:
                continue
            yield {"index": m, "size": n, "leaf": LEAVES[0], "root": r, "path": path}


def consistency_bases():
    for m, n in [(0, 0), (0, 1), (0, 9), (1, 1), (1, 2), (1, 8), (2, 3), (3, 7), (4, 7), (6, 7), (6, 8), (7, 7),
                 (8, 16), (31, 33), (64, 130), (100, 130), (127, 128), (129, 130)]:
        yield {"old_size": m, "new_size": n, "old_root": root(LEAVES[:m]), "new_root": root(LEAVES[:n]),
               "path": prove_consistency(m, LEAVES[:n]) if m else []}
    for m, n in [(LIMIT - 1, LIMIT), (2**62, LIMIT), (2**40 + 6, 2**40 + 7)]:
        for length in range(65):
            path = [sha(b"path %d" % i) for i in range(length)]
            try:
                old, _ = run_consistency(m, n, sha(b"old"), path)
                _, new = run_consistency(m, n, old, path)
            except Shape:
                continue
            yield {"old_size": m, "new_size": n, "old_root": old, "new_root": new, "path": path}


class Key:
    def __init__(self, name, seed):
        self.name, self.private = name, Ed25519PrivateKey.from_private_bytes(sha(seed))
        public = b"\1" + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = sha(name.encode() + b"\n" + public)[:4]
        self.vkey = "%s+%s+%s" % (name, self.id.hex(), base64.b64encode(public).decode())

    def line(self, body):
        sig = self.id + self.private.sign(body.encode())
        return "\u2014 %s %s\n" % (self.name, base64.b64encode(sig).decode())


ORIGIN = "log.example/orders"
LOG = Key(ORIGIN, b"log")
OTHER = Key(ORIGIN, b"another key of the same name")
WITNESS = Key("witness.example/w1", b"witness")
ROOT7 = base64.b64encode(root(LEAVES[:7])).decode()
BODY7 = "%s\n7\n%s\n" % (ORIGIN, ROOT7)


def signed(body, *keys):
    return body + "\n" + "".join(k.line(body) for k in keys)


def checkpoints():
    good = signed(BODY7, LOG)
    sig = LOG.line(BODY7)
    cases = [
        ("one signature", good, "ok"),
        ("with a cosignature", signed(BODY7, LOG, WITNESS), "ok"),
        ("cosignature first", signed(BODY7, WITNESS, LOG), "ok"),
        ("the same signature twice", good + sig, "ok"),
        ("size 0", signed("%s\n0\n%s\n" % (ORIGIN, text(sha(b""))), LOG), "ok"),
        ("largest size", signed("%s\n%d\n%s\n" % (ORIGIN, LIMIT, ROOT7), LOG), "ok"),
        ("size over the limit", signed("%s\n%d\n%s\n" % (ORIGIN, LIMIT + 1, ROOT7), LOG), "invalid"),
        ("leading zero", signed("%s\n07\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("two zeros", signed("%s\n00\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("plus sign", signed("%s\n+7\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("minus sign", signed("%s\n-7\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("hexadecimal size", signed("%s\n0x7\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("underscore in size", signed("%s\n1_0\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("space before size", signed("%s\n 7\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("no size", signed("%s\n\n%s\n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("no origin", signed("\n7\n%s\n" % ROOT7, LOG), "invalid"),
        ("two lines", signed("%s\n7\n" % ORIGIN, LOG), "invalid"),
        ("root of 31 bytes", signed("%s\n7\n%s\n" % (ORIGIN, text(bytes(31))), LOG), "invalid"),
        ("root of 33 bytes", signed("%s\n7\n%s\n" % (ORIGIN, text(bytes(33))), LOG), "invalid"),
        ("root without padding", signed("%s\n7\n%s\n" % (ORIGIN, ROOT7[:-1]), LOG), "invalid"),
        ("root with unused bits set", signed("%s\n7\n%s\n" % (ORIGIN, text(bytes(32))[:-2] + "B="), LOG), "invalid"),
        ("root in URL alphabet", signed("%s\n7\n%s\n" % (ORIGIN, "_" * 42 + "8="), LOG), "invalid"),
        ("root in hexadecimal", signed("%s\n7\n%s\n" % (ORIGIN, root(LEAVES[:7]).hex()), LOG), "invalid"),
        ("space after root", signed("%s\n7\n%s \n" % (ORIGIN, ROOT7), LOG), "invalid"),
        ("extension line", signed(BODY7 + "more\n", LOG), "invalid"),
        ("empty extension line", signed(BODY7 + "\n", LOG), "invalid"),
        ("other origin", signed("log.example/payments\n7\n%s\n" % ROOT7, LOG), "origin"),
        ("origin in other case", signed("log.example/Orders\n7\n%s\n" % ROOT7, LOG), "origin"),
        ("origin with trailing space", signed("%s \n7\n%s\n" % (ORIGIN, ROOT7), LOG), "origin"),
        ("only a cosignature", signed(BODY7, WITNESS), "unverified"),
        ("other key of the same name", signed(BODY7, OTHER), "unverified"),
        ("size changed after signing", BODY7.replace("\n7\n", "\n8\n") + "\n" + sig, "bad signature"),
        ("origin changed after signing", BODY7.replace("orders", "others") + "\n" + sig, "bad signature"),
        ("signature of another body", BODY7 + "\n" + LOG.line("other\n"), "bad signature"),
        ("no signature", BODY7 + "\n", "not a note"),
        ("no blank line", BODY7 + sig, "not a note"),
        ("no newline at the end", good[:-1], "not a note"),
        ("text after the signatures", good + "more\n", "not a note"),
        ("carriage returns", good.replace("\n", "\r\n"), "not a note"),
        ("hyphen for dash", good.replace("\u2014", "-"), "not a note"),
        ("nothing", "", "not a note"),
    ]
    return {"origin": ORIGIN, "log_key": LOG.vkey, "witness_key": WITNESS.vkey,
            "cases": [{"name": n, "message": m, "want": w} for n, m, w in cases]}


def tlog_proofs():
    path = "".join(text(h) + "\n" for h in prove_inclusion(4, LEAVES[:7]))
    cp = signed(BODY7, LOG, WITNESS)
    head = "c2sp.org/tlog-proof@v1\n"
    good = head + "index 4\n" + path + "\n" + cp
    one = signed("%s\n1\n%s\n" % (ORIGIN, text(LEAVES[4])), LOG)
    junk = text(sha(b"junk")) + "\n"

    def extra(data):
        return head + "extra %s\nindex 4\n" % data + path + "\n" + cp

    cases = [
        ("plain", good, "ok"),
        ("with extra", extra(text(b"some context")), "ok"),
        ("with the largest extra", extra(text(bytes(32768))), "ok"),
        ("one leaf, no path", head + "index 0\n\n" + one, "ok"),
        ("extra over the limit", extra(text(bytes(32769))), "invalid"),
        ("extra empty", extra(""), "invalid"),
        ("extra not base64", extra("!"), "invalid"),
        ("extra with unused bits set", extra("QR=="), "invalid"),
        ("extra with a carriage return", extra("QQ=\r="), "invalid"),
        ("extra twice", extra("QQ==\nextra QQ=="), "invalid"),
        ("extra after index", head + "index 4\nextra QQ==\n" + path + "\n" + cp, "invalid"),
        ("other version", good.replace("@v1", "@v2"), "invalid"),
        ("no header", good[len(head):], "invalid"),
        ("header only", head, "invalid"),
        ("nothing", "", "invalid"),
        ("no index", head + path + "\n" + cp, "invalid"),
        ("index with leading zero", good.replace("index 4", "index 04"), "invalid"),
        ("index negative", good.replace("index 4", "index -4"), "invalid"),
        ("index outside the tree", good.replace("index 4", "index 7"), "invalid"),
        ("index over the limit", good.replace("index 4", "index %d" % (LIMIT + 1)), "invalid"),
        ("index of a shorter path", good.replace("index 4", "index 6"), "invalid"),
        ("index of another leaf", good.replace("index 4", "index 5"), "mismatch"),
        ("path too long", good.replace(path, path + junk), "invalid"),
        ("path far too long", good.replace(path, junk * 70), "invalid"),
        ("path too short", good.replace(path, path[:-45]), "invalid"),
        ("path in reverse", good.replace(path, "\n".join(path.split()[::-1]) + "\n"), "mismatch"),
        ("path line cut", good.replace(path, path[:-2] + "\n"), "invalid"),
        ("path line with space", good.replace(path, path[:-1] + " \n"), "invalid"),
        ("no blank line", good.replace(path + "\n", path), "invalid"),
        ("two blank lines", good.replace(path + "\n", path + "\n\n"), "invalid"),
        ("carriage returns", good.replace("\n", "\r\n"), "invalid"),
        ("no checkpoint", head + "index 4\n" + path + "\n", "invalid"),
        ("checkpoint with extension line", head + "index 4\n" + path + "\n" + signed(BODY7 + "more\n", LOG), "invalid"),
        ("checkpoint without signatures", head + "index 4\n" + path + "\n" + BODY7 + "\n", "not a note"),
        ("checkpoint with a cosignature only", head + "index 4\n" + path + "\n" + signed(BODY7, WITNESS), "unverified"),
        ("checkpoint of another log", good.replace(cp, signed(BODY7.replace("orders", "others"), LOG)), "origin"),
        ("checkpoint changed", good.replace(ROOT7, text(sha(b"x"))), "bad signature"),
        ("checkpoint of other leaves", good.replace(cp, signed(BODY7.replace(ROOT7, text(sha(b"x"))), LOG)), "mismatch"),
    ]
    return {"origin": ORIGIN, "log_key": LOG.vkey, "leaf": text(LEAVES[4]),
            "cases": [{"name": n, "text": t, "want": w} for n, t, w in cases]}


def accumulated():
    h = hashlib.sha256()

    def add(kind, a, b, path):
        h.update(("%s %d %d" % (kind, a, b) + "".join(" " + x.hex() for x in path) + "\n").encode())

    for n in range(131):
        for m in range(n):
            add("inclusion", m, n, prove_inclusion(m, LEAVES[:n]))
        for m in range(n + 1):
            add("consistency", m, n, prove_consistency(m, LEAVES[:n]) if m else [])
    return {"leaves": 130, "proofs": h.hexdigest()}


def write(name, value):
    with open(name, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    write("inclusion.json", expand(inclusion_bases(), ["index", "size"], ["leaf", "root"], judge_inclusion))
    write("consistency.json", expand(consistency_bases(), ["old_size", "new_size"], ["old_root", "new_root"],
                                     judge_consistency))
    write("checkpoint.json", checkpoints())
    write("tlogproof.json", tlog_proofs())
    write("accumulated.json", accumulated())
