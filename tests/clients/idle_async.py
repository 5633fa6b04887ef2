"""Reads and idles with aioimaplib: idle_async.py USER OTHER; the first sent message is the file sent0."""

import asyncio
import pathlib
import sys

import aioimaplib

from session import CONTEXT, PASSWORD, port, smtp


def ok(response):
    assert response.result == "OK", response
    return response.lines


def send(sender, recipient):
    with smtp(sender) as session:
        session.sendmail(sender, [recipient], b"From: <%s>\r\nSubject: now\r\n\r\nnow\r\n" % sender.encode())


async def main():
    user, other = sys.argv[1:]
    session = aioimaplib.IMAP4_SSL(host="localhost", port=port("IMAPS"), ssl_context=CONTEXT, timeout=30)
    await session.wait_hello_from_server()
    ok(await session.login(user, PASSWORD))
    ok(await session.select("INBOX"))
    assert session.has_capability("IDLE") and session.has_capability("MOVE")
    lines = ok(await session.fetch("1", "(UID BODY.PEEK[])"))
    assert bytes(lines[1]).endswith(pathlib.Path("sent0").read_bytes()), lines
    ok(await session.uid("store", "1", "+FLAGS.SILENT", r"(\Flagged)"))
    assert ok(await session.uid_search("FLAGGED"))[0].split() == [b"1"]
    ok(await session.append(pathlib.Path("sent0").read_bytes(), mailbox="Sent", flags=r"(\Seen)"))
    ok(await session.move("2:2", "Trash"))
    assert ok(await session.search("ALL"))[0].split() == [b"1", b"2"]

    # IDLE: pushed while it waits.
    idle = await session.idle_start(timeout=30)
    await asyncio.to_thread(send, other, user)
    pushed = await session.wait_server_push(timeout=30)
    while b"3 EXISTS" not in pushed:
        pushed = await session.wait_server_push(timeout=30)
    session.idle_done()
    ok(await asyncio.wait_for(idle, 30))
    ok(await session.logout())


asyncio.run(main())
