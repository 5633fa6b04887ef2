"""Reads, flags, copies, moves, deletes and idles with IMAPClient: imapclient_session.py USER OTHER"""

import pathlib
import sys

from imapclient import DELETED, FLAGGED, SEEN, IMAPClient

from session import CONTEXT, PASSWORD, port, smtp

user, other = sys.argv[1:]
with IMAPClient("localhost", port("IMAPS"), ssl_context=CONTEXT, timeout=30) as client:
    client.login(user, PASSWORD)
    assert client.has_capability("UIDPLUS") and client.has_capability("IDLE")
    assert client.namespace().personal == (("", "/"),), client.namespace()
    assert client.select_folder("INBOX")[b"EXISTS"] == 3
    uids = client.search("ALL")
    fetched = client.fetch(uids, ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]"])
    for number, uid in enumerate(uids):
        message = fetched[uid]
        assert message[b"ENVELOPE"].subject == b"sample %d" % number
        assert message[b"ENVELOPE"].from_[0].mailbox == other.split("@")[0].encode()
        assert message[b"RFC822.SIZE"] == len(message[b"BODY[]"])
        assert message[b"BODYSTRUCTURE"].is_multipart and len(message[b"BODYSTRUCTURE"][0]) == 2
    assert fetched[uids[0]][b"BODY[]"].endswith(pathlib.Path("sent0").read_bytes())

    client.add_flags(uids[:2], [FLAGGED, SEEN, "$Work"])
    assert client.search(["FLAGGED", "SEEN", "KEYWORD", "$Work"]) == uids[:2]
    client.remove_flags(uids[1], [FLAGGED])
    assert client.search("UNFLAGGED") == uids[1:]
    assert client.search(["SUBJECT", "sample 2"], charset="UTF-8") == [uids[2]]

    client.create_folder("Öfen & Herde")
    assert client.folder_exists("Öfen & Herde")
    assert "Öfen & Herde" in [name for _, _, name in client.list_folders()]
    client.copy(uids[0], "Öfen & Herde")
    client.move(uids[1], "Öfen & Herde")
    assert client.folder_status("Öfen & Herde", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 2, b"UNSEEN": 0}
    client.add_flags(uids[0], [DELETED])
    client.uid_expunge([uids[0]])
    assert client.search("ALL") == [uids[2]]
    answer = client.append("Öfen & Herde", pathlib.Path("sent0").read_bytes(), flags=[SEEN])
    assert b"APPENDUID" in answer, answer

    client.idle()
    with smtp(other) as sender:
        sender.sendmail(other, [user], b"From: <%s>\r\nSubject: now\r\n\r\nnow\r\n" % other.encode())
    assert (2, b"EXISTS") in client.idle_check(timeout=30)
    client.idle_done()
