"""Prints the flags of every message in INBOX: flags.py USER"""

import sys

from session import imap

session = imap(sys.argv[1])
session.select("INBOX", readonly=True)
for line in session.fetch("1:*", "(UID FLAGS)")[1]:
    print(line.decode())
session.logout()
