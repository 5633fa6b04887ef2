"""Drives alpine by what stands on its screen: alpine.py USER OTHER; three sample messages are in INBOX.

Alpine reads, flags, saves, deletes, expunges and sends; a message arrives while it shows another.
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

import pyte

from session import PASSWORD, imap, port, smtp

LINES, COLUMNS = 24, 100
SECONDS = 20
# A screen is settled when nothing was drawn for so long.
SETTLED = 0.15
# Stands in the text of the screen where the cursor is.
CURSOR = "█"
# Has alpine draw its screen anew and look for new mail; harmless at every prompt.
REDRAW = "\x0c"
TRIES = 10
PINERC = """
personal-name=Alice Example
user-domain=a.test
smtp-server=localhost:{submissions}/ssl/user={user}
inbox-path={{localhost:{imaps}/ssl/user={user}}}INBOX
folder-collections=far {{localhost:{imaps}/ssl/user={user}}}[]
system-certs-file={authority}
default-fcc=""
customized-hdrs=From: {user}
feature-list=allow-changing-from,disable-password-file-saving,enable-flag-cmd,expunge-without-confirm,
    quit-without-confirm,send-without-confirm
last-version-used=6.26
"""


class Terminal:
    """A program on a terminal, and its screen."""

    def __init__(self, *command):
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
            # pyte knows all that this terminal does; xterm repeats characters by a sequence that it does not know.
            os.execvpe(command[0], command, os.environ | {"TERM": "linux"})

    def text(self):
        lines = list(self.screen.display)
        at = self.screen.cursor
        lines[at.y] = lines[at.y][: at.x] + CURSOR + lines[at.y][at.x :]
        return "\n".join(line.rstrip() for line in lines)

    def fail(self, why):
        raise SystemExit(f"{why}; the screen:\n{self.text()}")

    def draw(self, seconds):
        """Draws what comes within that time. Whether something came; None when the program has ended."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        try:
            self.stream.feed(os.read(self.terminal, 65536))
        except OSError:
            return None
        return True

    def shows(self, patterns):
        return all(re.search(pattern, self.text()) for pattern in patterns)

    def expect(self, patterns, seconds):
        """Whether a settled screen shows all of them in time."""
        until = time.monotonic() + seconds
        while (drawn := self.draw(SETTLED)) or not self.shows(patterns):
            if drawn is None:
                self.fail(f"ended before {patterns}")
            if time.monotonic() > until:
                return False
        return True

    def press(self, keys, *patterns):
        """Types, and waits for what that brings onto the screen, over which another thread of alpine may have drawn."""
        if self.shows(patterns):
            self.fail(f"{patterns} are there before {keys!r}")
        for typed in [keys] + [REDRAW] * (TRIES - 1):
            os.write(self.terminal, typed.encode())
            if self.expect(patterns, SECONDS / TRIES):
                return
        self.fail(f"{patterns} not seen after {keys!r}")

    def end(self, keys):
        """Types the last keys; the exit code."""
        os.write(self.terminal, keys.encode())
        while (drawn := self.draw(SECONDS)) is not None:
            if not drawn:
                self.fail(f"did not end after {keys!r}")
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def main():
    user, other = sys.argv[1:]
    ports = {"imaps": port("IMAPS"), "submissions": port("SUBMISSIONS")}
    pathlib.Path("pinerc").write_text(PINERC.format(user=user, authority=os.environ["CA"], **ports))
    alpine = Terminal("alpine", "-p", "pinerc", "-i")
    alpine.press("", f"localhost:{ports['imaps']}  USER: {user}  ENTER PASSWORD:")
    alpine.press(PASSWORD + "\r", "Message 1 of 3 NEW", *(rf"N   {n + 1} .* sample {n}\n" for n in range(3)))
    walk(alpine, user, other)
    send(alpine, other, ports["submissions"])
    assert alpine.end("q") == 0
    check(user)


def walk(alpine, user, other):
    """What is awaited is the title, the list and prompts: alpine drops words of its status line as time has it."""
    alpine.press("\r", "MESSAGE TEXT .* Message 1 of 3", "Subject: sample 0\n", r"\n\.leading dot\n\.\.two\n\.\ntrailing space\n")
    # A message arrives meanwhile.
    with smtp(other) as sender:
        sender.sendmail(other, [user], b"From: <%s>\r\nSubject: now\r\n\r\njust now\r\n" % other.encode())
    alpine.press(REDRAW, "MESSAGE TEXT .* Message 1 of 4", rf"\[New mail! From {other} .*now\]", "Subject: sample 0\n")
    alpine.press("*", "Flag New, Deleted, .* or Important")
    alpine.press("*", r"\? Help +< MsgIndex ")
    # Saving copies, and marks as deleted.
    alpine.press("n", "Message 2 of 4 .* NEW", "Subject: sample 1\n")
    alpine.press("s", rf"SAVE Msg #2 to folder \[.*\] : {CURSOR}")
    alpine.press("Archive", f"SAVE .* Archive{CURSOR}")
    alpine.press("\r", "Message 2 of 4 .* DEL")
    alpine.press("n", "Message 3 of 4 .* NEW", "Subject: sample 2\n")
    # Deleting shows the next message, the new one.
    alpine.press("d", "Message 4 of 4 ALL", "Subject: now\n", "\njust now\n")
    alpine.press("<", "MESSAGE INDEX .* Message 4 of 4", r"\*     1 .* 0\n", "D   2 .* 1\n", "D   3 .* 2\n", r"4 .* now\n")
    alpine.press("x", "Message 2 of 2", r"\*     1 .* sample 0\n.*    2 .* now\n")


def send(alpine, other, submissions):
    alpine.press("c", "COMPOSE MESSAGE .* 2 Messages", f"To      : {CURSOR}\n")
    alpine.press(other + "\r", f"To      : {other}\nCc      : {CURSOR}\n")
    alpine.press("\r", f"Attchmnt: {CURSOR}\n")
    alpine.press("\r", f"Subject : {CURSOR}\n")
    alpine.press("from alpine\r", f"Subject : from alpine\n-.*\n{CURSOR}\n")
    alpine.press(".\rEnd", rf"\n\.\nEnd{CURSOR}\n")
    alpine.press("\x18", f"localhost:{submissions} .* ENTER PASSWORD:")
    # Where it cannot send, it goes back to COMPOSE MESSAGE.
    alpine.press(PASSWORD + "\r", "MESSAGE INDEX .* Message 2 of 2")


def check(user):
    """What alpine did stands in the mailboxes."""
    session = imap(user)

    def subjects(wanted):
        numbers = session.search(None, wanted)[1][0].split()
        return [session.fetch(number, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1].strip() for number in numbers]

    session.select("INBOX")
    assert subjects("ALL") == subjects("SEEN") == [b"Subject: sample 0", b"Subject: now"], (subjects("ALL"), subjects("SEEN"))
    assert subjects("FLAGGED") == [b"Subject: sample 0"], subjects("FLAGGED")
    assert session.select("Archive") == ("OK", [b"1"])
    saved = session.fetch("1", "(BODY.PEEK[])")[1][0][1]
    assert saved.endswith(pathlib.Path("sent1").read_bytes()), saved
    session.logout()


main()
