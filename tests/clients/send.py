"""Sends standard input as one message: send.py FROM TO…"""

import sys

from session import smtp

sender, *recipients = sys.argv[1:]
with smtp(sender) as session:
    refused = session.sendmail(sender, recipients, sys.stdin.buffer.read(), mail_options=["BODY=8BITMIME"])
    assert refused == {}, refused
