"""Real messages by APPEND, then every FETCH item and every section of each: real_append.py USER"""

import re
import sys

import corpus
from response import children, fetch, kind, parts
from session import imap

DATE = '"21-Nov-2026 04:05:06 +0100"'
ITEMS = "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE"
TEXTS = "BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] RFC822.HEADER RFC822.TEXT RFC822"
FIELDS = "BODY.PEEK[HEADER.FIELDS (Subject From)] BODY.PEEK[HEADER.FIELDS.NOT (Subject From)]"


def texts(session, number, message):
    """Whole, header, text, and pieces of them."""
    got = fetch(session, number, f"({TEXTS})")
    assert got["BODY[]"] == got["RFC822"] == message
    assert got["BODY[HEADER]"] == got["RFC822.HEADER"] and got["BODY[TEXT]"] == got["RFC822.TEXT"]
    assert got["BODY[HEADER]"] + got["BODY[TEXT]"] == message
    ranges = [(0, 1), (1, 10), (len(message) - 1, 10), (len(message), 5), (0, 1 << 31)]
    for start, length in ranges:
        got = fetch(session, number, f"(BODY.PEEK[]<{start}.{length}>)")
        assert got == {f"BODY[]<{start}>": message[start : start + length]}, (start, length, got)
    pieces = [
        fetch(session, number, f"(BODY.PEEK[TEXT]<{start}.700>)").popitem()[1] for start in range(0, len(message), 700)
    ]
    assert message.endswith(b"".join(pieces))


def fields(session, number, header):
    """What is asked for, and the others: together all that are fields, each in its order."""
    found = re.findall(rb"^[!-9;-~]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", header, re.M)
    wanted = [field for field in found if field.split(b":")[0].strip().lower() in (b"subject", b"from")]
    others = [field for field in found if field not in wanted]
    got = list(fetch(session, number, f"({FIELDS})").values())
    assert got == [b"".join(wanted) + b"\r\n", b"".join(others) + b"\r\n"], (got, header)


def sections(session, number, message, structure):
    """Each part's octets and MIME header are where and as large as BODYSTRUCTURE says; how many there are."""
    count = 0
    whole = isinstance(structure[0], list) or kind(structure) == (b"message", b"rfc822")
    for section, part in parts(structure):
        octets = fetch(session, number, f"(BODY.PEEK[{section}])")[f"BODY[{section}]"] or b""
        assert octets in message and len(octets) == int(part[6]), (section, part, octets)
        head = fetch(session, number, f"(BODY.PEEK[{section}.MIME])")[f"BODY[{section}.MIME]"] or b""
        if whole and section != "1":
            assert head + octets in message, (section, head, octets)
        if kind(part) == (b"message", b"rfc822"):
            got = fetch(session, number, f"(BODY.PEEK[{section}.HEADER] BODY.PEEK[{section}.TEXT])")
            assert got[f"BODY[{section}.HEADER]"] + got[f"BODY[{section}.TEXT]"] == octets, (section, got)
        if kind(part)[0] == b"text":
            assert int(part[7]) == len(octets.split(b"\n")) - octets.endswith(b"\n") * 1 - (not octets), (section, part, octets)
        count += 1
    missing = fetch(session, number, "(BODY.PEEK[99.MIME])")
    assert missing == {"BODY[99.MIME]": None} or missing == {"BODY[99.MIME]": b""}, missing
    return count


def main():
    session = imap(sys.argv[1])
    assert session.create("Real")[0] == "OK"
    messages = corpus.messages()
    total = 0
    for number, (name, message) in enumerate(messages.items(), 1):
        kind_, answer = session.append("Real", r"(\Flagged)", DATE, message)
        assert kind_ == "OK" and f" {number}]".encode() in answer[0], (name, answer)
    assert session.select("Real") == ("OK", [str(len(messages)).encode()])
    for number, (name, message) in enumerate(messages.items(), 1):
        try:
            got = fetch(session, number, f"({ITEMS})")
            assert got["RFC822.SIZE"] == str(len(message)) and got["UID"] == str(number), got
            assert got["INTERNALDATE"] == DATE.strip('"').encode() and "\\Flagged" in got["FLAGS"], got
            assert len(got["ENVELOPE"]) == 10, got
            basic(got["BODY"], got["BODYSTRUCTURE"])
            texts(session, number, message)
            fields(session, number, fetch(session, number, "(BODY.PEEK[HEADER])")["BODY[HEADER]"])
            total += sections(session, number, message, got["BODYSTRUCTURE"])
        except AssertionError as error:
            raise SystemExit(f"{name}: {error!r}\n{message[:3000]!r}") from error
    session.logout()
    print(f"{len(messages)} messages, {total} sections")


def basic(body, structure):
    """BODY is BODYSTRUCTURE without its extension data."""
    if isinstance(structure[0], list):
        count = children(structure)
        assert len(body) == count + 1 and body[count] == structure[count], (body, structure)
        for inner, full in zip(body[:count], structure[:count]):
            basic(inner, full)
    elif kind(structure) == (b"message", b"rfc822"):
        assert len(body) == 10 and body[:8] == structure[:8] and body[9] == structure[9], (body, structure)
        basic(body[8], structure[8])
    else:
        assert body == structure[: len(body)] and len(body) in (7, 8), (body, structure)


main()
