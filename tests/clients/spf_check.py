"""SPF by pyspf: spf_check.py ZONE, with one client in a line of standard input: its address, the sender, what it said in HELO.

ZONE is a file in JSON: name → list of [type, data]; the data of MX is [preference, host]. A name whose list is null is not answered. Prints the
result for each client.
"""

import json
import socket
import sys

import spf

with open(sys.argv[1], encoding="utf-8") as file:
    zone = {name.lower(): records for name, records in json.load(file).items()}


def look_up(name, kind, strict=True, timeout=20):
    records = zone.get(name.lower().rstrip("."), [])
    if records is None:
        raise spf.TempError("DNS timeout")
    found = []
    for type_, data in records:
        if type_ == "CNAME":
            found.append(((name, type_), data))
            if kind != "CNAME":
                found += look_up(data, kind)
        elif type_ == kind:
            if kind == "TXT":
                data = tuple(text.encode() for text in data)
            elif kind == "MX":
                data = tuple(data)
            elif kind == "AAAA":
                data = socket.inet_pton(socket.AF_INET6, data)
            found.append(((name, type_), data))
    return found


spf.DNSLookup = look_up
for line in sys.stdin:
    address, sender, helo = line.rstrip("\n").split(" ")
    result, _, _ = spf.query(i=address, s=sender, h=helo, receiver="receiver.test", strict=True).check()
    print(result)
