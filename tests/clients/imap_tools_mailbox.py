"""Reads, flags, moves and deletes with imap-tools: imap_tools_mailbox.py USER OTHER; three sample messages are in INBOX."""

import sys

from imap_tools import AND, MailBox, MailBoxStartTls, MailMessageFlags

from session import CONTEXT, PASSWORD, port, smtp

user, other = sys.argv[1:]
with MailBox("localhost", port=port("IMAPS"), ssl_context=CONTEXT, timeout=30).login(user, PASSWORD) as mailbox:
    messages = list(mailbox.fetch(mark_seen=False, bulk=True))
    assert [message.subject for message in messages] == ["sample 0", "sample 1", "sample 2"], messages
    first = messages[0]
    assert first.from_ == other and first.to == (user,), (first.from_, first.to)
    assert [attachment.payload for attachment in first.attachments] == [bytes(range(8))]
    assert ".leading dot\r\n..two\r\n.\r\ntrailing space \r\n" in first.text, first.text
    assert first.size_rfc822 == len(first.obj.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")), first.size_rfc822

    mailbox.flag([first.uid], [MailMessageFlags.FLAGGED, "$Work"], True)
    assert [m.uid for m in mailbox.fetch(AND(flagged=True, keyword="$Work"), mark_seen=False)] == [first.uid]
    assert len(list(mailbox.fetch(AND(subject="sample 2"), mark_seen=False))) == 1
    assert list(mailbox.fetch(AND(text="no such text"), mark_seen=False)) == []

    mailbox.folder.create("Räume/Büro")
    assert mailbox.folder.exists("Räume/Büro")
    mailbox.copy(messages[0].uid, "Räume/Büro")
    mailbox.move(messages[1].uid, "Räume/Büro")
    mailbox.delete(messages[2].uid)
    assert mailbox.uids() == [first.uid]
    assert mailbox.folder.status("Räume/Büro")["MESSAGES"] == 2
    mailbox.folder.rename("Räume/Büro", "Räume/Küche")
    mailbox.folder.set("Räume/Küche")
    assert sorted(message.subject for message in mailbox.fetch(mark_seen=False)) == ["sample 0", "sample 1"]
    mailbox.append(first.obj.as_bytes(), "INBOX", flag_set=[MailMessageFlags.SEEN])
    mailbox.folder.set("INBOX")
    mailbox.folder.delete("Räume/Küche")
    assert not mailbox.folder.exists("Räume/Küche")

    mailbox.idle.start()
    with smtp(other) as sender:
        sender.sendmail(other, [user], b"From: <%s>\r\nSubject: now\r\n\r\nnow\r\n" % other.encode())
    pushed = mailbox.idle.poll(timeout=30)
    mailbox.idle.stop()
    assert b"* 3 EXISTS" in pushed, pushed

with MailBoxStartTls("localhost", port=port("IMAP"), ssl_context=CONTEXT, timeout=30).login(user, PASSWORD) as mailbox:
    assert [message.subject for message in mailbox.fetch()][-1] == "now"
