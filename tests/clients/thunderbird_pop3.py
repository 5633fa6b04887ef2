"""Thunderbird downloads by POP3: thunderbird_pop3.py USER OTHER

Three sample messages are in the maildrop, and the files sent0 to sent2 hold them. Over TLS from the first octet they are left on the server;
then one more comes, and behind STLS all that it has leaves the server.
"""

import pathlib
import sys
import time

from session import imap, port, smtp
from thunderbird import SECONDS, read, running

# As preferences and attributes number them.
STARTTLS, IMPLICIT = 2, 3

DOWNLOAD = """
server.QueryInterface(Ci.nsIPop3IncomingServer);
server.port = a[0];
server.socketType = a[1];
server.leaveMessagesOnServer = a[2];
await new Promise((resolve, reject) => MailServices.pop3.GetNewMail(null, {
  OnStartRunningUrl() {},
  OnStopRunningUrl(url, status) { Components.isSuccessCode(status) ? resolve() : reject(new Error(`download: ${status}`)); },
}, inbox, server));
return messages(inbox).map((header) => header.mime2DecodedSubject).sort();
"""


def server(user):
    return {
        "type": "pop3",
        "hostname": "localhost",
        "port": port("POP3S"),
        "userName": user,
        "name": user,
        "socketType": IMPLICIT,
        "authMethod": 3,
        "login_at_startup": False,
        "check_new_mail": False,
        "leave_on_server": True,
        "delete_by_age_from_server": False,
    }


def until_left(user, count):
    """Waits until so many messages are on the server: Thunderbird says QUIT when it is done, and mail arrives when it is delivered."""
    session, until = imap(user), time.monotonic() + SECONDS
    while (found := int(session.select("INBOX", readonly=True)[1][0])) != count:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    session.logout()


def main():
    user, other = sys.argv[1:]
    with running(user, server(user)) as thunderbird:
        subjects = ["sample 0", "sample 1", "sample 2"]
        for _ in range(2):
            assert thunderbird.run(DOWNLOAD, port("POP3S"), IMPLICIT, True) == subjects, "each is taken once"
            until_left(user, 3)
        for number, subject in enumerate(subjects):
            text, sent = read(thunderbird, subject), pathlib.Path(f"sent{number}").read_bytes().replace(b"\r\n", b"\n")
            assert text.endswith(sent), (text, sent)
        with smtp(other) as sender:
            sender.sendmail(other, [user], b"From: <%s>\r\nSubject: now\r\n\r\nnow\r\n" % other.encode())
        until_left(user, 4)
        assert thunderbird.run(DOWNLOAD, port("POP3"), STARTTLS, False) == ["now", *subjects]
        until_left(user, 0)


main()
