"""Entries of the control log, to the byte: docs/formats/control.md, as far as evidence is about them."""
from basics import need
from records import I64, OUTCOME, U16, U32, U64, array, blob, boolean, filled, hash32, hexadecimal, members, nullable, number, ordered, positive, some, text, time, true

H16, H32 = hexadecimal(16), hexadecimal(32)


def named_roster(v):
    H32(v)
    need(any(c != "0" for c in v), "a hash of zeros that should be left out")


def anything(_):
    pass


def numbers(v):
    """An object of any members in the order of their bytes, or null."""
    if v:
        ordered(U64)(v)


ENVELOPE = members(stele=text, type=text, archive=H16, time=time, by=text, body=anything)
ROOT = members(n=U64, hash=H32)
NAMED = array(members(name=text, key=text))
CLASS = members(name=text, keep=U16, ttl_=positive(U16), min_=positive(U16))
POLICY = members(
    version=U64, classes=nullable(array(CLASS)), root=text, approvers_=some(members(name=text, key=text)), holders_=some(members(name=text, key=text)), compactors=nullable(NAMED),
    keyservices_=some(members(name=text, key=text)), readers=nullable(array(members(name=text, key=nullable(blob), sign=text))),
    writers=nullable(array(members(name=text, key=nullable(blob), revoked_=time))), intake=nullable(array(members(week=U16, key=nullable(blob)))),
    revoked_=some(members(key=text, last=numbers)), lock=members(mode=text, keep=U16), erasure_=members(session_=some(text), ttl_=true), partitions=U32, period=text)
OUTCOME_SAID = members(request=H32, erased=U64, whole_=positive(U64), held_=positive(U64), retained_=positive(U64), until_=time, left_=positive(U64), nothing_=true, problem_=filled)
DESTRUCTION = nullable(array(members(custodian=text, generation=U64, **{"class": text}, destroyed_=time, irrecoverable_=time, statement=text)))

BODIES = {
    "policy": POLICY,
    "roster": members(version=U64, names=U64, root=hash32),
    "heads": members(heads=nullable(array(members(log=text, commit=U64, hash=H32, checkpoint=text))), roster_=named_roster),
    "logs": members(control=U64, logs=U64, root=hash32),
    # one to erase; others lead to no erasure
    "request": members(what=text, until=time, urgent_=true, select=members(kind=text, salted=H32, week=U16, sealed=H32)),
    "approve": members(request=H32),
    "erased": members(
        cause=text, requests_=some(OUTCOME_SAID), **{"from": U64}, to=U64, before=ROOT, root=ROOT, control=U64, list=H32, paths=hash32, scopes=U64, removed=U64,
        spent_=positive(U64), custody=DESTRUCTION, watermark=U64, archive_=time, transport=time, single=boolean, open_=some(text)),
    "destroyed": members(erased=H32, custody=DESTRUCTION, watermark=U64, archive_=time, open_=some(text)),
    "supplement": members(request_=H32, root=ROOT, buried_=positive(U64), dead_=positive(U64), weeks_=some(U16)),
}
SELECTOR = members(stele=text, archive=H16, kind=text, value_=filled, tag_=H16, scopes_=some(H16), asked_=filled, reason_=filled, salt=H32)
STATEMENT = members(stele=text, custodian=text, kind=text, archive=H16, generation=U64, state=text, **{"class": text}, declared=boolean, time=time, destroyed_=time,
                    irrecoverable_=time, evidence_=ordered(text))


def body(entry):
    """The body of an entry whose type is known here."""
    BODIES[entry.type](entry.body)
    return entry.body
