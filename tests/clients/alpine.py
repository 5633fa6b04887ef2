"""Drives alpine in a terminal, key by key, each after what must stand on the screen: alpine.py USER OTHER

Reads a message, deletes and expunges one, flags one, saves one to another mailbox, and sends one.
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import struct
import sys
import termios
import time

from session import PASSWORD, imap, port

SECONDS = 20
PINERC = """
personal-name=Alice Example
user-domain=a.test
smtp-server=localhost:{submissions}/ssl/user={user}
inbox-path={{localhost:{imaps}/ssl/user={user}}}INBOX
folder-collections=far {{localhost:{imaps}/ssl/user={user}}}[]
default-fcc=""
customized-hdrs=From: {user}
feature-list=quit-without-confirm,expunge-without-confirm,expunge-without-confirm-everywhere,allow-changing-from,enable-flag-cmd,
    enable-aggregate-command-set,save-will-not-delete,no-save-will-quote-leading-froms,send-without-confirm,quell-ssl-largeblocks
last-version-used=6.26
"""


class Terminal:
    """A program on a terminal of its own, and all that it has shown since the last key."""

    def __init__(self, command):
        self.child, self.screen = pty.fork()
        if self.child == 0:
            os.execvp(command[0], command)
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.shown = b""

    def read(self, until):
        if not select.select([self.screen], [], [], max(0, until - time.monotonic()))[0]:
            raise SystemExit(f"not seen in time; the screen: {self.text()}")
        try:
            octets = os.read(self.screen, 65536)
        except OSError:
            octets = b""
        self.shown += octets
        return octets

    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|[\x0e\x0f]", " ", self.shown.decode(errors="replace"))

    def expect(self, pattern):
        until = time.monotonic() + SECONDS
        while not re.search(pattern, self.text(), re.S):
            if not self.read(until):
                raise SystemExit(f"ended before {pattern}; the screen: {self.text()}")

    def type(self, keys):
        self.shown = b""
        os.write(self.screen, keys.encode())

    def end(self):
        until = time.monotonic() + SECONDS
        while self.read(until):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def main():
    user, other = sys.argv[1:]
    os.environ["SSL_CERT_FILE"] = os.environ["CA"]
    pathlib.Path("pinerc").write_text(PINERC.format(user=user, imaps=port("IMAPS"), submissions=port("SUBMISSIONS")))
    alpine = Terminal(["alpine", "-p", "pinerc", "-i"])
    alpine.expect("PASSWORD")
    alpine.type(PASSWORD + "\r")
    alpine.expect("Preserve password")
    alpine.type("n")
    alpine.expect("sample 0.*sample 2")

    # Read the first, flag it, save it to Trash.
    alpine.type("ppp\r")
    alpine.expect(r"Subject: sample 0.*\.leading dot")
    alpine.type("s")
    alpine.expect("SAVE.*folder")
    alpine.type("\x15Trash\r")
    alpine.expect("Message 1 copied|copied to")
    alpine.type("*")
    alpine.expect("[Ff]lag")
    alpine.type("*")
    alpine.expect("Important|flag")

    # Delete the second and expunge.
    alpine.type("n")
    alpine.expect("Subject: sample 1")
    alpine.type("d")
    alpine.expect("deleted|Subject: sample 2")
    alpine.type("<")
    alpine.expect("INDEX")
    alpine.type("x")
    alpine.expect("[Ee]xpunged")

    # Send one.
    alpine.type("c")
    alpine.expect("COMPOSE")
    alpine.type(f"{other}\r\r\rfrom alpine\r.\rEnd\x18")
    alpine.expect("PASSWORD|sent|Send message")
    if "PASSWORD" in alpine.text():
        alpine.type(PASSWORD + "\r")
        alpine.expect("Preserve password|sent")
        if "Preserve" in alpine.text():
            alpine.type("n")
            alpine.expect("sent")
    alpine.type("q")
    assert alpine.end() == 0
    check(user)


def check(user):
    """What alpine did stands in the mailboxes."""
    session = imap(user)
    assert session.select("INBOX") == ("OK", [b"2"])
    assert session.search(None, "FLAGGED") == ("OK", [b"1"])
    assert session.search(None, "SUBJECT", '"sample 0"') == ("OK", [b"1"])
    assert session.search(None, "SUBJECT", '"sample 2"') == ("OK", [b"2"])
    assert session.select("Trash") == ("OK", [b"1"])
    saved = session.fetch("1", "(BODY.PEEK[])")[1][0][1]
    assert saved.endswith(pathlib.Path("sent0").read_bytes()), saved
    session.logout()


main()
