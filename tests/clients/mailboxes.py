"""Python's own module `mailbox`: reads what Waypost exported, or writes what it will import, in the working directory.

read: `maildir` and `mbox` against `expected.json` (lines of mailbox, file, flags, seconds) and the files in `expected`.
write: `written--maildir` and `written--mbox`.
"""

import calendar
import json
import mailbox
import os
import re
import sys
import time

LETTERS = {"\\Seen": "S", "\\Answered": "R", "\\Flagged": "F", "\\Deleted": "T", "\\Draft": "D"}
SECONDS = 1795233906  # 21 Nov 2026 04:05:06 UTC


def expected():
    """Mailbox → octets, flags of a Maildir and date of each message, in their order."""
    mailboxes = {}
    for name, file, flags, seconds in json.load(open("expected.json")):
        octets = open(f"expected/{name.replace('/', '.')}/{file}", "rb").read()
        letters = "".join(sorted(LETTERS[flag] for flag in flags.split()))
        mailboxes.setdefault(name, []).append((octets, letters, seconds))
    return mailboxes


def maildir(root, name):
    box = mailbox.Maildir(root, create=False)
    return box if name == "INBOX" else box.get_folder(name.replace("/", "."))


def read_maildir(name):
    box = maildir("maildir", name)
    found = []
    for key in box.keys():
        message = box.get_message(key)
        uid = int(re.search(r"U(\d+)\.", key)[1])
        found.append((uid, box.get_bytes(key), message.get_flags(), message.get_date()))
    return [tuple(rest) for _, *rest in sorted(found)]


def read_mbox(name):
    box = mailbox.mbox(f"mbox/{name}", create=False)
    found = []
    for key in box.keys():
        message = box.get_message(key)
        raw = box.get_bytes(key).replace(b"\r\n", b"\n")
        own, octets = raw.split(b"\nX-Keywords: ", 1)
        assert own.startswith(b"X-Waypost: "), own
        octets = octets.split(b"\n", 1)[1]
        seconds = time.strptime(message.get_from().split(" ", 1)[1], "%a %b %d %H:%M:%S %Y")
        # mbox calls them otherwise: read R, answered A, deleted D, draft T.
        flags = message.get_flags().replace("O", "").translate(str.maketrans("RADT", "SRTD"))
        octets = re.sub(rb"(?m)^>(>*From )", rb"\1", octets)
        found.append((octets, "".join(sorted(flags)), calendar.timegm(seconds)))
    return found


def plain(octets):
    """As Python gives octets: with LF; an mbox ends the last line."""
    octets = octets.replace(b"\r\n", b"\n")
    return octets if octets.endswith(b"\n") else octets + b"\n"


def read():
    counts = [0, 0]
    for name, messages in expected().items():
        found = read_maildir(name)
        assert [m[1:] for m in found] == [m[1:] for m in messages], name
        for (octets, *_), (wanted, *_) in zip(found, messages):
            # Python reads files of a Maildir with universal line ends.
            assert octets == wanted.replace(b"\r\n", b"\n") or octets == wanted, (name, octets, wanted)
        counts[0] += len(found)
        found = read_mbox(name)
        assert len(found) == len(messages), (name, len(found), len(messages))
        for (octets, *rest), (wanted, *wanted_rest) in zip(found, messages):
            assert octets == plain(wanted), (name, octets, plain(wanted))
            assert rest == wanted_rest, (name, rest, wanted_rest)
        counts[1] += len(found)
    print(f"{counts[0]} in the Maildir, {counts[1]} in the mboxes")


def write():
    os.makedirs("written--mbox/Folder")
    root = mailbox.Maildir("written--maildir")
    folders = {"INBOX": root, "Folder/Sub": root.add_folder("Folder.Sub")}
    for name, folder in folders.items():
        mbox = mailbox.mbox(f"written--mbox/{name}")
        for number, (maildir_flags, mbox_flags) in enumerate([("S", "RO"), ("FRS", "ROAF"), ("", "")]):
            text = f"Subject: {name} {number}\n\nFrom here\n> quoted\n"
            message = mailbox.MaildirMessage(text)
            message.set_subdir("cur" if maildir_flags else "new")
            message.set_flags(maildir_flags)
            message.set_date(SECONDS)
            folder.add(message)
            message = mailbox.mboxMessage(text)
            message.set_from("x@far.test", time.gmtime(SECONDS))
            message.set_flags(mbox_flags)
            mbox.add(message)
        mbox.close()


{"read": read, "write": write}[sys.argv[1]]()
