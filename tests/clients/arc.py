"""ARC by dkimpy: arc.py verify RECORDS MESSAGE… | arc.py seal KEY SELECTOR DOMAIN AUTHSERV-ID OUT MESSAGE…

RECORDS is a file with one record in a line: its name, a space, its text. `verify` prints a line for each message: what the chain is, and the domains of
its seals, the newest first. `seal` puts each message with one more set into the folder OUT, under its own name, by authheaders.
"""

import os
import sys

import authheaders
import dkim


def read(path):
    with open(path, "rb") as file:
        return file.read()


def verify(records, *paths):
    known = dict(line.split(" ", 1) for line in read(records).decode().splitlines())
    for path in paths:
        cv, sets, reason = dkim.arc_verify(
            read(path), dnsfunc=lambda name, timeout=5: known.get(name.decode().rstrip("."), "").encode()
        )
        print(cv.decode(), *(found["as-domain"].decode() for found in sets))
        print(reason, file=sys.stderr)


def seal(key, selector, domain, authserv_id, out, *paths):
    for path in paths:
        message = read(path)
        fields = [b"from", b"to", b"subject", b"date", b"message-id"]
        made = authheaders.sign_message(
            message, selector.encode(), domain.encode(), read(key), fields, sig="ARC", srv_id=authserv_id.encode()
        )
        with open(os.path.join(out, os.path.basename(path)), "wb") as file:
            file.write(b"".join(made) + message)


{"verify": verify, "seal": seal}[sys.argv[1]](*sys.argv[2:])
