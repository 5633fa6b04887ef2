"""Lists, reads and deletes with poplib: pop3.py USER; the sent messages are the files sent0, sent1, sent2."""

import pathlib
import poplib
import sys

from session import CONTEXT, PASSWORD, pop3, port

user = sys.argv[1]
session = pop3(user)
count, octets = session.stat()
assert count == 3, count
listed = [line.split() for line in session.list()[1]]
unique = [line.split()[1] for line in session.uidl()[1]]
assert len(set(unique)) == 3, unique
for number in range(3):
    lines = session.retr(number + 1)[1]
    stored = b"".join(line + b"\r\n" for line in lines)
    assert stored.endswith(pathlib.Path(f"sent{number}").read_bytes()), stored
    assert int(listed[number][1]) == len(stored)
assert sum(int(size) for _, size in listed) == octets
header = session.top(1, 0)[1]
assert header[-1] == b"" and any(line.startswith(b"Subject: sample 0") for line in header), header
assert session.top(1, 1)[1][-1] == b"preamble"
session.dele(1)
session.dele(2)
session.rset()
session.dele(3)

# Exclusive: nobody else gets in meanwhile.
other = poplib.POP3_SSL("localhost", port("POP3S"), context=CONTEXT, timeout=30)
try:
    other.user(user)
    other.pass_(PASSWORD)
    raise SystemExit("the maildrop was opened twice")
except poplib.error_proto as error:
    assert b"IN-USE" in error.args[0], error
other.close()

# A lost connection deletes nothing.
session.close()
session = pop3(user)
assert session.stat()[0] == 3
assert [line.split()[1] for line in session.uidl()[1]] == unique
session.dele(1)
session.dele(3)
session.quit()
session = pop3(user)
assert [line.split()[1] for line in session.uidl()[1]] == [unique[1]]
session.quit()
