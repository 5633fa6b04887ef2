"""Real messages by SMTP, then read by IMAP and POP3, octet for octet: real_delivery.py USER

What SMTP does not carry is refused by DATA with a reply that names the fault, and nothing of it arrives.
"""

import os
import poplib
import re
import smtplib
import sys

import corpus
from session import CONTEXT, imap, pop3

poplib._MAXLINE = 1 << 20
REPLIES = {
    b"a CR without LF": b"5.6.0 The message holds a CR without LF",
    b"a LF without CR": b"5.6.0 The message holds a LF without CR",
    b"a NUL": b"5.6.0 The message holds a NUL",
    b"a folded start": b"5.6.0 The first line of the message begins with white space",
}


def fault(octets):
    """Why SMTP does not carry a message; None where it does. Behind our fields a folded first line would go on with them."""
    return corpus.fault(octets) or (b"a folded start" if octets[:1] in (b" ", b"\t") else None)


def data(session, user, message):
    """One transaction with a message as it is; the reply to its end."""
    session.ehlo_or_helo_if_needed()
    code, text = session.mail("somebody@far.test", ["BODY=8BITMIME", f"SIZE={len(message)}"])
    assert code == 250, text
    code, text = session.rcpt(user)
    assert code == 250, text
    return session.data(message)


def faulty(messages):
    """Messages that SMTP does not carry: as their packages have them, and some made so."""
    found = {name: octets for name, octets in corpus.originals().items() if corpus.fault(octets)}
    found.update((name, octets) for name, octets in corpus.messages().items() if fault(octets))
    for name in list(messages)[:5]:
        found[f"{name} with CR"] = messages[name].replace(b"\r\n", b"\r") + b"\r\n"
        found[f"{name} with one CR"] = messages[name][:-2] + b"\r.\r\n"
        found[f"{name} with NUL"] = messages[name][:-2] + b"\0\r\n"
    return found


def main():
    user = sys.argv[1]
    assert all(corpus.fault(message) is None for message in corpus.messages().values())
    messages = {name: octets for name, octets in corpus.messages().items() if fault(octets) is None}
    refused = faulty(messages)
    assert {fault(message) for message in refused.values()} == set(REPLIES), "each fault occurs"
    with smtplib.SMTP("localhost", int(os.environ["SMTP"]), timeout=30) as session:
        session.starttls(context=CONTEXT)
        for name, message in messages.items():
            code, text = data(session, user, message)
            assert code == 250 and text.startswith(b"2.0.0 "), (name, code, text)
    refusals(user, refused)

    session = imap(user)
    assert session.select("INBOX") == ("OK", [str(len(messages)).encode()])
    stored = []
    for number, (name, message) in enumerate(messages.items(), 1):
        octets = session.fetch(str(number), "(BODY.PEEK[])")[1][0][1]
        same(name, octets, message)
        stored.append(octets)
    session.logout()

    session = pop3(user, utf8=True)
    assert session.stat() == (len(messages), sum(map(len, stored)))
    for number, (name, octets) in enumerate(zip(messages, stored), 1):
        retrieved = retrieve(session, number)
        assert retrieved == octets, (name, retrieved, octets)
    session.quit()
    without_utf8(user, dict(zip(messages, stored)))
    print(f"{len(messages)} delivered, {len(refused)} refused")


def retrieve(session, number):
    return b"".join(line + b"\r\n" for line in session.retr(number)[1])


def without_utf8(user, stored):
    """Who has not said UTF8 gets no UTF-8 in headers (RFC 6856); all else is the same."""
    session, surrogates = pop3(user), 0
    for number, (name, octets) in enumerate(stored.items(), 1):
        retrieved = retrieve(session, number)
        for line in retrieved.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            assert line.isascii() or not is_utf8(line), (name, line)
        if retrieved != octets:
            surrogates += 1
            assert not octets.isascii(), (name, retrieved, octets)
    session.quit()
    assert surrogates, "some have UTF-8 in their headers"


def is_utf8(octets):
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def refusals(user, refused):
    """Each faulty message is refused at its end, by name. Errors add up, so each gets a session of its own."""
    for name, message in refused.items():
        with smtplib.SMTP("localhost", int(os.environ["SMTP"]), timeout=30) as session:
            code, text = data(session, user, message)
            assert code == 554 and text.startswith(REPLIES[fault(message)]), (name, code, text)


def same(name, stored, sent):
    """The message stands unchanged behind the fields that Waypost adds in front, but for its old Return-Path (RFC 5321 section 4.4)."""
    header, empty, body = sent.partition(b"\r\n\r\n")
    sent = re.sub(rb"(?mi)^Return-Path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", header + empty) + body
    assert stored.endswith(sent), (name, stored, sent)
    added = stored[: len(stored) - len(sent)]
    names = [line.split(b":")[0] for line in added.splitlines() if not line.startswith((b" ", b"\t"))]
    assert names == [b"Return-Path", b"Delivered-To", b"Received"], (name, added)


main()
