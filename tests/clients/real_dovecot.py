"""ENVELOPE and BODYSTRUCTURE of real messages compared with Dovecot's: real_dovecot.py USER DIFFERENCES

Each difference must have a name that DIFFERENCES, a Markdown file, has as a heading; each heading must have occurred.
"""

import collections
import pathlib
import re
import sys

import corpus
import differences
from dovecot import Dovecot
from response import fetch
from session import imap


def compare(ours, theirs, messages):
    counts, wrong, special = collections.Counter(), [], set()
    for number, name in enumerate(messages, 1):
        mine, other = (fetch(session, number, "(ENVELOPE BODYSTRUCTURE)") for session in (ours, theirs))
        for item, rules in (("ENVELOPE", differences.envelope), ("BODYSTRUCTURE", differences.structure)):
            found = set(rules(mine[item], other[item]))
            assert bool(found) == (mine[item] != other[item]), f"{name} {item}: a difference is not seen"
            if differences.UNEXPLAINED in found and name in differences.SPECIAL:
                found = found - {differences.UNEXPLAINED} | {differences.SPECIAL[name]}
                special.add(name)
            if differences.UNEXPLAINED in found:
                wrong.append(f"{name} {item}\n  Waypost {mine[item]}\n  Dovecot {other[item]}")
            counts.update(found)
    assert not wrong, "\n".join(wrong)
    assert special == set(differences.SPECIAL), f"no difference any more: {set(differences.SPECIAL) - special}"
    return counts


def main():
    user, explanations = sys.argv[1:]
    messages = corpus.messages()
    ours = imap(user)
    assert ours.create("Real")[0] == "OK"
    with Dovecot() as theirs:
        for name, message in messages.items():
            for session, mailbox in ((ours, "Real"), (theirs, "INBOX")):
                kind, answer = session.append(mailbox, None, None, message)
                assert kind == "OK", (name, answer)
        for session, mailbox in ((ours, "Real"), (theirs, "INBOX")):
            assert session.select(mailbox) == ("OK", [str(len(messages)).encode()])
        counts = compare(ours, theirs, messages)
    ours.logout()
    headings = set(re.findall(r"^## (.+)$", pathlib.Path(explanations).read_text(), re.M))
    assert headings == set(counts), f"explained but not found: {headings - set(counts)}, found: {set(counts) - headings}"
    print(f"{len(messages)} messages", dict(counts))


main()
