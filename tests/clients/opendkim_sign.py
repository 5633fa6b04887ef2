"""Has opendkim sign messages: opendkim_sign.py PROGRAM CONFIG SOCKET OUT MESSAGE…

PROGRAM runs with CONFIG, which names SOCKET (a path), until all is signed; each message is put with its signature into the folder OUT, under its own
name. This is the MTA's side of the milter protocol, as far as a signer needs it.
"""

import os
import socket
import struct
import subprocess
import sys
import time

program, config, path, out, *messages = sys.argv[1:]

# the milter protocol: commands, replies, and what is negotiated
OPTNEG, CONNECT, HELO, MAIL, RCPT, HEADER, END_OF_HEADER, BODY, END, MACRO = b"O", b"C", b"H", b"M", b"R", b"L", b"N", b"B", b"E", b"D"
CONTINUE, ACCEPT, INSERT_HEADER, ADD_HEADER = b"c", b"a", b"i", b"h"
VERSION, ACTIONS, LEADING_SPACE = 6, 0x1FF, 0x00100000


class Milter:
    def __init__(self, connection):
        self.connection = connection
        self.put(OPTNEG, struct.pack("!III", VERSION, ACTIONS, 0x1FFFFF))
        _, answer = self.take()
        self.wanted = struct.unpack("!III", answer[:12])[2]

    def put(self, command, data=b""):
        self.connection.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def exactly(self, count):
        octets = b""
        while len(octets) < count:
            more = self.connection.recv(count - len(octets))
            if not more:
                raise EOFError("opendkim hung up")
            octets += more
        return octets

    def take(self):
        (length,) = struct.unpack("!I", self.exactly(4))
        packet = self.exactly(length)
        return packet[:1], packet[1:]

    # SMFIP_NR_*: which commands are not answered
    silent = {CONNECT: 0x1000, HELO: 0x2000, MAIL: 0x4000, RCPT: 0x8000, HEADER: 0x80, END_OF_HEADER: 0x40000, BODY: 0x80000}
    # SMFIP_NO*: which are not wanted
    skipped = {CONNECT: 0x1, HELO: 0x2, MAIL: 0x4, RCPT: 0x8, BODY: 0x10, HEADER: 0x20, END_OF_HEADER: 0x40}

    def ask(self, command, data=b""):
        if self.wanted & self.skipped.get(command, 0):
            return
        self.put(command, data)
        if not self.wanted & self.silent.get(command, 0):
            answer, _ = self.take()
            assert answer == CONTINUE, (command, answer)

    def sign(self, message):
        header, body = message.split(b"\r\n\r\n", 1)
        self.ask(CONNECT, b"localhost\0" + b"4" + struct.pack("!H", 4321) + b"127.0.0.1\0")
        self.ask(HELO, b"localhost\0")
        self.put(MACRO, MAIL + b"i\0id\0")
        self.ask(MAIL, b"<alice@a.test>\0")
        self.ask(RCPT, b"<bob@b.test>\0")
        fields = []
        for line in header.split(b"\r\n"):
            if line[:1] in b" \t":
                fields[-1] += b"\n" + line
            else:
                fields.append(line)
        for field in fields:
            name, value = field.split(b":", 1)
            if not self.wanted & LEADING_SPACE:
                value = value.removeprefix(b" ")
            self.ask(HEADER, name + b"\0" + value + b"\0")
        self.ask(END_OF_HEADER)
        for start in range(0, len(body), 60_000):
            self.ask(BODY, body[start : start + 60_000])
        self.put(END)
        added = b""
        while True:
            answer, data = self.take()
            if answer in (CONTINUE, ACCEPT):
                return added + message
            assert answer in (INSERT_HEADER, ADD_HEADER), (answer, data, message[:200])
            name, value = data[4 if answer == INSERT_HEADER else 0 :].rstrip(b"\0").split(b"\0")
            space = b"" if self.wanted & LEADING_SPACE else b" "
            added += name + b":" + space + value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"


def connected():
    """A connection, once the program listens."""
    while True:
        assert daemon.poll() is None, "opendkim ended"
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        try:
            connection.connect(path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            time.sleep(0.02)


if os.path.exists(path):
    os.unlink(path)
daemon = subprocess.Popen([program, "-f", "-x", config])
try:
    for message in messages:
        with connected() as connection, open(message, "rb") as file:
            signed = Milter(connection).sign(file.read())
        with open(os.path.join(out, os.path.basename(message)), "wb") as file:
            file.write(signed)
finally:
    # it would take seconds to end by itself
    daemon.kill()
    daemon.wait()
