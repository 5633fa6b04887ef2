"""What FETCH answers, as Python values: lists, octets (strings, literals), text (atoms), None (NIL)."""

import re

TOKEN = re.compile(rb'[ \r\n]*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|\{(\d+)\}\r\n|([^ ()"{\r\n\[]+(?:\[[^\]]*\](?:<\d+>)?)?))', re.S)


def parse(octets, at=0):
    """The items of a list whose opening parenthesis stands before `at`, and where it ends."""
    items = []
    while match := TOKEN.match(octets, at):
        at = match.end()
        opening, closing, quoted, literal, atom = match.groups()
        if opening:
            inner, at = parse(octets, at)
            items.append(inner)
        elif closing:
            return items, at
        elif quoted is not None:
            items.append(re.sub(rb"\\(.)", rb"\1", quoted))
        elif literal is not None:
            items.append(octets[at : at + int(literal)])
            at += int(literal)
        else:
            items.append(None if atom.upper() == b"NIL" else atom.decode())
    assert not octets[at:].strip(), octets[at:]
    return items, at


def fetch(session, number, items, command="FETCH"):
    """One message's items by name."""
    kind, data = session.fetch(str(number), items)
    assert kind == "OK", (kind, data)
    octets = b"".join(piece[0] + b"\r\n" + piece[1] if isinstance(piece, tuple) else piece for piece in data if piece)
    values = parse(octets)[0]
    assert values[0] == str(number) and len(values) == 2, (number, values)
    values = values[1]
    return dict(zip([name.upper() for name in values[::2]], values[1::2]))


def parts(structure, path=""):
    """(section, structure) of each part; a message within a message, and what it holds, too."""
    if isinstance(structure[0], list):
        for number, child in enumerate([child for child in structure if isinstance(child, list)][: children(structure)], 1):
            yield from parts(child, f"{path}{number}.")
        return
    section = path.rstrip(".") or "1"
    yield section, structure
    if kind(structure) == (b"message", b"rfc822"):
        inner = structure[8]
        if isinstance(inner[0], list):
            yield from parts(inner, f"{section}.")
        else:
            yield from parts(inner, f"{section}.1.")


def children(structure):
    """How many children a multipart has: they stand before its subtype."""
    return next(number for number, item in enumerate(structure) if not isinstance(item, list))


def kind(structure):
    return (structure[0] or b"").lower(), (structure[1] or b"").lower()
