"""Reads over a compressed connection with imaplib and zlib, then logs out and in again on it: imap_compress.py USER OTHER"""

import imaplib
import pathlib
import sys
import zlib

from session import CONTEXT, PASSWORD, port

imaplib.Commands["COMPRESS"] = ("AUTH", "SELECTED")
imaplib.Commands["UNAUTHENTICATE"] = ("AUTH", "SELECTED")


class Compressing(imaplib.IMAP4_SSL):
    """A session whose octets go through zlib once it was asked for; counts what crossed the network."""

    inflater = deflater = None
    inflated = b""
    received = read_bytes = 0

    def compress(self):
        answer = self._simple_command("COMPRESS", "DEFLATE")
        self.deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.inflater = zlib.decompressobj(-15)
        return answer

    def stop_compressing(self):
        self.inflater = self.deflater = None

    def more(self):
        octets = self.sock.recv(4096)
        assert octets, "the server hung up"
        self.received += len(octets)
        self.inflated += self.inflater.decompress(octets)

    def send(self, data):
        if self.deflater:
            data = self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        super().send(data)

    def read(self, size):
        if not self.inflater:
            return super().read(size)
        while len(self.inflated) < size:
            self.more()
        return self.take(size)

    def readline(self):
        if not self.inflater:
            return super().readline()
        while b"\n" not in self.inflated:
            self.more()
        return self.take(self.inflated.index(b"\n") + 1)

    def take(self, size):
        taken, self.inflated = self.inflated[:size], self.inflated[size:]
        self.read_bytes += size
        return taken


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


user, other = sys.argv[1:]
session = Compressing("localhost", port("IMAPS"), ssl_context=CONTEXT, timeout=30)
assert "COMPRESS=DEFLATE" not in session.capabilities, session.capabilities
ok(session.login(user, PASSWORD))
capabilities = ok(session.capability())[0].decode().split()
assert "COMPRESS=DEFLATE" in capabilities and "UNAUTHENTICATE" in capabilities, capabilities
ok(session.compress())
try:
    session._simple_command("COMPRESS", "DEFLATE")
    raise AssertionError("compressed twice")
except imaplib.IMAP4.error as error:
    assert "COMPRESSIONACTIVE" in str(error), error

assert ok(session.select("INBOX")) == [b"3"]
for number in range(3):
    stored = ok(session.fetch(str(number + 1), "(BODY.PEEK[])"))[0][1]
    assert stored.endswith(pathlib.Path(f"sent{number}").read_bytes()), stored
large = b"Subject: large\r\n\r\n" + b"the same line again and again\r\n" * 20000
ok(session.append("INBOX", None, None, large))
before = session.received
assert ok(session.fetch("4", "(BODY.PEEK[])"))[0][1] == large
assert session.received - before < len(large) / 50, session.received - before
for _ in range(200):
    ok(session.fetch("1:*", "(FLAGS UID ENVELOPE)"))
print(f"{session.read_bytes} octets were {session.received} on the wire")
assert session.received < session.read_bytes / 10

# The rest of the flush stays behind the answer; what the next user says is plain.
ok(session._simple_command("UNAUTHENTICATE"))
assert session.inflated == b""
session.stop_compressing()
session.state = "NONAUTH"
ok(session.login(other, PASSWORD))
assert ok(session.select("INBOX")) == [b"0"]
ok(session.compress())
assert ok(session.select("INBOX")) == [b"0"]
session.logout()
