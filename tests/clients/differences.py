"""ENVELOPE and BODYSTRUCTURE of two servers compared: each difference gets the name under which docs/imap-differences.md explains it.

The first is Waypost's, the second Dovecot's.
"""

import re

from response import children, kind

MISSING = (b"MISSING_DOMAIN", b"MISSING_MAILBOX")
UNEXPLAINED = "unexplained"

# Single messages whose difference no rule covers.
SPECIAL = {
    "mail/epilogue-sample.raw": "A delimiter with text behind it",
    "data/dsn_14.txt": "The line end before an outer delimiter",
    "mail/inlinemultipart.raw": "A field that stands twice",
    "mail/malformed-multiple-address-header-values.raw": "A field that stands twice",
    "mail/mime-unquoted-tspecials-param.raw": "Parameters that break the grammar",
    "parts/missing-closing-param-quote.raw": "Parameters that break the grammar",
    "parts/unquoted-ctype-param-special.raw": "Parameters that break the grammar",
    "data/simple_35.txt": "Addresses that break the grammar",
}


def text(ours, theirs):
    if ours == theirs:
        return
    if ours is None or theirs is None or isinstance(ours, list) or isinstance(theirs, list):
        yield UNEXPLAINED
    elif b" ".join(ours.split()) == b" ".join(theirs.split()):
        yield "White space in header fields"
    elif ours.lower() == theirs.lower():
        yield "Upper and lower case"
    else:
        yield UNEXPLAINED


def addresses(ours, theirs):
    if ours == theirs:
        return
    if ours is None or theirs is None or len(ours) != len(theirs):
        yield UNEXPLAINED
        return
    for mine, other in zip(ours, theirs):
        for left, right in zip(mine, other):
            if left == b"" and right in MISSING:
                yield "Addresses without a domain"
            else:
                yield from text(left, right)


def envelope(ours, theirs):
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        yield from (addresses if 2 <= index <= 7 else text)(mine, other)


def joined(parameters):
    """Continuations (RFC 2231 section 3) in one value."""
    found = {}
    for name, value in parameters.items():
        match = re.fullmatch(rb"(.+?)\*\d+(\*?)", name)
        name = match[1] if match else name
        found[name] = found.get(name, b"") + value
    return {name.rstrip(b"*"): value for name, value in found.items()}


def parameters(ours, theirs, is_text):
    if ours == theirs:
        return
    mine = dict(zip((ours or [])[::2], (ours or [])[1::2]))
    other = dict(zip((theirs or [])[::2], (theirs or [])[1::2]))
    if is_text and b"charset" not in mine and other.get(b"charset") == b"us-ascii":
        yield "The default charset"
        del other[b"charset"]
    if list(mine) != list(other) and sorted(mine) == sorted(other):
        yield "The order of parameters"
    if mine.keys() != other.keys():
        mine, other = joined(mine), joined(other)
        yield "Parameter continuations" if mine == other else UNEXPLAINED
        return
    for name, value in mine.items():
        yield from text(value, other[name])


def lines(ours, theirs):
    """Dovecot does not count a last line without an end; how many lines there really are is checked elsewhere."""
    if ours != theirs:
        yield "The last line" if int(ours) == int(theirs) + 1 else UNEXPLAINED


def extension(ours, theirs):
    """Digest or parameters come before; here: disposition, language, location."""
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if index == 1 and other == [mine]:
            yield "One language"
        elif mine != other:
            yield UNEXPLAINED


def structure(ours, theirs):
    if isinstance(ours[0], list) and isinstance(theirs[0], list):
        count = children(ours)
        if count != children(theirs):
            yield UNEXPLAINED
            return
        for mine, other in zip(ours[:count], theirs[:count]):
            yield from structure(mine, other)
        yield from text(ours[count], theirs[count])
        yield from parameters(ours[count + 1], theirs[count + 1], False)
        yield from extension(ours[count + 2 :], theirs[count + 2 :])
    elif isinstance(ours[0], list) or isinstance(theirs[0], list):
        yield UNEXPLAINED
    else:
        yield from leaf(ours, theirs)


def leaf(ours, theirs):
    at_ours = at_theirs = 7
    if theirs[:2] == [b"", b""]:
        yield "Content types that break the grammar"
        if ours[2] not in (theirs[2], [b"charset", b"us-ascii"]):
            yield UNEXPLAINED
    else:
        yield from text(ours[0], theirs[0])
        yield from text(ours[1], theirs[1])
        yield from parameters(ours[2], theirs[2], kind(ours)[0] == b"text")
    for index in (3, 4, 5):
        yield from text(ours[index], theirs[index])
    if ours[6] != theirs[6]:
        yield UNEXPLAINED
    if kind(ours) == kind(theirs) == (b"message", b"rfc822"):
        yield from envelope(ours[7], theirs[7])
        yield from structure(ours[8], theirs[8])
        yield from lines(ours[9], theirs[9])
        at_ours = at_theirs = 10
    elif kind(ours)[0] == b"text":
        at_ours = 8
        if kind(theirs)[0] == b"text":
            at_theirs = 8
            yield from lines(ours[7], theirs[7])
    if ours[at_ours] != theirs[at_theirs]:
        yield UNEXPLAINED
    yield from extension(ours[at_ours + 1 :], theirs[at_theirs + 1 :])
