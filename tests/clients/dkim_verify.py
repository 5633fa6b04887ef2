"""Verifies the DKIM signatures of messages: dkim_verify.py RECORDS MESSAGE…

RECORDS is a file with one record in a line: its name, a space, its text. Prints a line for each signature: algorithm, domain, and whether
it holds.
"""

import re
import sys

import dkim

records, *messages = sys.argv[1:]
with open(records, encoding="ascii") as file:
    known = dict(line.rstrip("\n").split(" ", 1) for line in file)


def look_up(name, timeout=5):
    return known.get(name.decode().rstrip("."), "").encode()


for path in messages:
    with open(path, "rb") as file:
        message = file.read()
    signatures = re.findall(rb"^DKIM-Signature:", message.split(b"\r\n\r\n")[0] + b"\r\n", re.I | re.M)
    for number in range(len(signatures)):
        verifier = dkim.DKIM(message)
        try:
            holds = verifier.verify(idx=number, dnsfunc=look_up)
        except dkim.ValidationError as error:
            print(error, file=sys.stderr)
            holds = False
        fields = verifier.signature_fields
        print(fields[b"a"].decode(), fields[b"d"].decode(), "holds" if holds else "fails")
