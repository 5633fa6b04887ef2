"""What the scripts share: where the server is, and TLS that is verified against its authority."""

import imaplib
import os
import poplib
import smtplib
import ssl

PASSWORD = os.environ["PASSWORD"]
CONTEXT = ssl.create_default_context(cafile=os.environ["CA"])


def port(service):
    return int(os.environ[service])


def imap(user):
    session = imaplib.IMAP4("localhost", port("IMAP"), timeout=30)
    session.starttls(CONTEXT)
    session.login(user, PASSWORD)
    return session


def pop3(user, utf8=False):
    session = poplib.POP3("localhost", port("POP3"), timeout=30)
    session.stls(CONTEXT)
    if utf8:
        session.utf8()
    session.user(user)
    session.pass_(PASSWORD)
    return session


def smtp(user):
    session = smtplib.SMTP("localhost", port("SUBMISSION"), timeout=30)
    session.starttls(context=CONTEXT)
    session.login(user, PASSWORD)
    return session
