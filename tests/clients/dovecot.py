"""Dovecot's IMAP server as a peer to compare with: an unprivileged process of its own, logged in, over a pipe."""

import imaplib
import os
import pwd
import shutil
import tempfile

SERVER = "/usr/lib/dovecot/imap"
CONFIGURATION = """
protocols =
mail_location = mdbox:{home}/mail
log_path = {home}/log
ssl = no
base_dir = {home}
state_dir = {home}
stats_writer_socket_path =
mail_plugins =
"""


class Dovecot:
    """`with Dovecot() as session`"""

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="dovecot")
        with open(f"{self.home}/dovecot.conf", "w") as file:
            file.write(CONFIGURATION.format(home=self.home))
        environment = f"env -i HOME={self.home} USER=peer"
        drop = ""
        if os.getuid() == 0:
            # Dovecot gives nobody's mail to root.
            nobody = pwd.getpwnam("nobody")
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
            drop = f"setpriv --reuid={nobody.pw_uid} --regid={nobody.pw_gid} --clear-groups "
        self.session = imaplib.IMAP4_stream(f"{drop}{environment} {SERVER} -c {self.home}/dovecot.conf")
        assert self.session.state == "AUTH", self.session.welcome
        return self.session

    def __exit__(self, *_):
        try:
            self.session.logout()
        finally:
            shutil.rmtree(self.home)
