"""Submits standard input with aiosmtplib, over STARTTLS and over implicit TLS: send_async.py FROM TO"""

import asyncio
import sys

import aiosmtplib

from session import CONTEXT, PASSWORD, port


async def main():
    sender, recipient = sys.argv[1:]
    message = sys.stdin.buffer.read()
    login = {"username": sender, "password": PASSWORD, "tls_context": CONTEXT, "timeout": 30}
    errors, reply = await aiosmtplib.send(
        message, hostname="localhost", port=port("SUBMISSION"), start_tls=True, sender=sender, recipients=[recipient], **login
    )
    assert errors == {} and reply.startswith("2.0.0 "), (errors, reply)
    async with aiosmtplib.SMTP(hostname="localhost", port=port("SUBMISSIONS"), use_tls=True, **login) as session:
        assert session.supports_extension("pipelining") and session.supports_extension("size")
        try:
            await session.sendmail("somebody@else.test", [recipient], message)
            raise SystemExit("another's address was taken as sender")
        except aiosmtplib.SMTPSenderRefused as refused:
            assert refused.code in (550, 553), refused
        await session.rset()
        errors, reply = await session.sendmail(sender, [recipient], message)
        assert errors == {} and reply.startswith("2.0.0 "), (errors, reply)


asyncio.run(main())
