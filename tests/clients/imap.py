"""Reads, flags, copies, moves, deletes and idles with imaplib: imap.py USER OTHER"""

import pathlib
import sys

from session import imap, smtp

user, other = sys.argv[1:]
session = imap(user)


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


capabilities = ok(session.capability())[0].split()
assert b"IDLE" in capabilities and b"MOVE" in capabilities, capabilities
assert ok(session.select("INBOX")) == [b"3"]

# Read: the sent message stands behind the fields that were added in front of it.
stored = ok(session.fetch("1", "(BODY.PEEK[])"))[0][1]
sent = pathlib.Path("sent0").read_bytes()
assert stored.endswith(sent) and stored.startswith(b"Return-Path: <bob@a.test>"), stored
size = ok(session.fetch("1", "(RFC822.SIZE)"))[0]
assert f"RFC822.SIZE {len(stored)}".encode() in size, size
pieces = b"".join(
    ok(session.fetch("1", f"(BODY.PEEK[]<{start}.100>)"))[0][1] for start in range(0, len(stored), 100)
)
assert pieces == stored
assert ok(session.fetch("1", "(BODY.PEEK[2])"))[0][1] == b"AAECAwQFBgc="
assert ok(session.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))[0][1] == b"Subject: sample 0\r\n\r\n"
envelope = ok(session.fetch("1", "(ENVELOPE BODYSTRUCTURE)"))[0]
assert b'"sample 0"' in envelope and b'"application" "octet-stream"' in envelope.lower(), envelope

# Flags.
assert ok(session.search(None, "UNSEEN")) == [b"1 2 3"]
ok(session.fetch("2", "(RFC822)"))
assert ok(session.search(None, "UNSEEN")) == [b"1 3"]
ok(session.store("1", "+FLAGS", r"(\Flagged $Work)"))
assert ok(session.search(None, "FLAGGED")) == [b"1"]
assert ok(session.search(None, "KEYWORD", "$work")) == [b"1"]
assert ok(session.search(None, "SUBJECT", '"sample 2"')) == [b"3"]
assert ok(session.search(None, "BODY", '"leading dot"', "NOT", "SUBJECT", '"sample 0"')) == [b"2 3"]
ok(session.store("1", "-FLAGS", "$Work"))
assert ok(session.search(None, "KEYWORD", "$work")) == [b""]

# Folders, COPY, MOVE, EXPUNGE, APPEND.
ok(session.create("Projekte/2026"))
names = b" ".join(ok(session.list()))
assert b"Projekte" in names, names
ok(session.copy("1:2", "Projekte/2026"))
assert ok(session.status("Projekte/2026", "(MESSAGES UNSEEN)"))[0].endswith(b"(MESSAGES 2 UNSEEN 1)")
ok(session._simple_command("UID", "MOVE", ok(session.fetch("3", "(UID)"))[0].split()[2].rstrip(b")").decode(), "Trash"))
ok(session.noop())
assert ok(session.search(None, "ALL")) == [b"1 2"]
ok(session.store("2", "+FLAGS.SILENT", r"(\Deleted)"))
ok(session.expunge())
assert ok(session.search(None, "ALL")) == [b"1"]
assert ok(session.status("Trash", "(MESSAGES)"))[0].endswith(b"(MESSAGES 1)")
ok(session.append("Sent", r"(\Seen)", '"21-Nov-2026 04:05:06 +0100"', sent))
ok(session.select("Sent"))
appended = ok(session.fetch("1", "(FLAGS INTERNALDATE BODY.PEEK[])"))
assert appended[0][1] == sent and b'"21-Nov-2026 04:05:06 +0100"' in appended[0][0], appended
ok(session.rename("Projekte", "Work"))
assert ok(session.status("Work/2026", "(MESSAGES)"))[0].endswith(b"(MESSAGES 2)")
ok(session.delete("Work/2026"))
assert session.select("Work/2026")[0] == "NO"

# IDLE: another user's message arrives while the session waits.
ok(session.select("INBOX"))
tag = session._new_tag()
session.send(tag + b" IDLE\r\n")
assert session.readline().startswith(b"+")
with smtp(other) as sender:
    sender.sendmail(other, [user], b"From: <%s>\r\nSubject: now\r\n\r\nnow\r\n" % other.encode())
line = session.readline()
assert line == b"* 2 EXISTS\r\n", line
session.send(b"DONE\r\n")
while not line.startswith(tag):
    line = session.readline()
assert b" OK" in line, line
session.logout()
