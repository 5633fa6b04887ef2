"""Drives Thunderbird without a screen, by Marionette, with a prepared profile: thunderbird.py USER OTHER

Three sample messages are in INBOX. Thunderbird reads, flags, moves, deletes and sends; a message arrives by IDLE.
"""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

from session import PASSWORD, imap, port, smtp

SECONDS = 30


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def imap_server(user):
    return {
        "type": "imap",
        "hostname": "localhost",
        "port": port("IMAPS"),
        "userName": user,
        "name": user,
        "socketType": 3,
        "authMethod": 3,
        "login_at_startup": False,
        "check_new_mail": False,
        "use_idle": True,
        "delete_model": 1,
    }


def preferences(user, server, control):
    """One account on a server, one SMTP server, and nothing that asks or calls out."""
    return {f"mail.server.server1.{name}": value for name, value in server.items()} | {
        "mail.accountmanager.accounts": "account1",
        "mail.accountmanager.defaultaccount": "account1",
        "mail.account.account1.server": "server1",
        "mail.account.account1.identities": "id1",
        "mail.identity.id1.fullName": "Alice Example",
        "mail.identity.id1.useremail": user,
        "mail.identity.id1.smtpServer": "smtp1",
        "mail.identity.id1.doFcc": False,
        "mail.smtpservers": "smtp1",
        "mail.smtp.defaultserver": "smtp1",
        "mail.smtpserver.smtp1.hostname": "localhost",
        "mail.smtpserver.smtp1.port": port("SUBMISSIONS"),
        "mail.smtpserver.smtp1.username": user,
        "mail.smtpserver.smtp1.try_ssl": 3,
        "mail.smtpserver.smtp1.authMethod": 3,
        "marionette.port": control,
        "mail.provider.suppress_dialog_on_startup": True,
        "mail.shell.checkDefaultClient": False,
        "mail.rights.version": 1,
        "mailnews.start_page.enabled": False,
        "app.donation.eoy.version.viewed": 9999,
        "datareporting.policy.dataSubmissionEnabled": False,
        "toolkit.telemetry.server": "",
        "app.update.disabledForTesting": True,
        "network.proxy.type": 1,
        "network.proxy.http": "127.0.0.1",
        "network.proxy.http_port": 9,
        "network.proxy.ssl": "127.0.0.1",
        "network.proxy.ssl_port": 9,
    }


class Marionette:
    """Scripts within Thunderbird, each behind the same prelude."""

    def __init__(self, control, prelude):
        self.prelude = prelude
        until = time.monotonic() + SECONDS
        while True:
            try:
                self.stream = socket.create_connection(("127.0.0.1", control), timeout=SECONDS).makefile("rwb")
                break
            except OSError:
                assert time.monotonic() < until, "Thunderbird does not listen"
                time.sleep(0.2)
        self.receive()
        self.ids = itertools.count()
        self.send("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {}}})
        self.send("Marionette:SetContext", {"value": "chrome"})
        self.send("WebDriver:SetTimeouts", {"script": SECONDS * 1000})

    def receive(self):
        size = b""
        while not size.endswith(b":"):
            octet = self.stream.read(1)
            assert octet, "Thunderbird has ended"
            size += octet
        return json.loads(self.stream.read(int(size[:-1])))

    def send(self, name, parameters):
        message = json.dumps([0, next(self.ids), name, parameters]).encode()
        self.stream.write(b"%d:%s" % (len(message), message))
        self.stream.flush()
        _, _, error, result = self.receive()
        if error:
            raise SystemExit(f"{name}: {error['error']}: {error['message']}\n{parameters}")
        return result

    def run(self, body, *arguments):
        """The value of an async function's body; its arguments are `a`."""
        script = f"const [...all] = arguments; const done = all.pop(); const a = all; (async () => {{ {self.prelude} {body} }})()"
        script += ".then((value) => done({value: value ?? null}), (error) => done({error: `${error} ${error?.stack}`}));"
        result = self.send("WebDriver:ExecuteAsyncScript", {"script": script, "args": list(arguments), "newSandbox": True})
        value = result["value"]
        if "error" in value:
            raise SystemExit(f"{value['error']}\n{body}")
        return value["value"]


PRELUDE = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.accounts.find((account) => account.incomingServer.type == "KIND").incomingServer;
const wait = async (what, test) => {
  for (let tries = 0; tries < 250; tries++) {
    const value = await test();
    if (value) return value;
    await new Promise((resolve) => Cc["@mozilla.org/timer;1"].createInstance(Ci.nsITimer)
      .initWithCallback({ notify: resolve }, 100, Ci.nsITimer.TYPE_ONE_SHOT));
  }
  throw new Error(`not in time: ${what}`);
};
const inbox = await (async () => server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox))();
const messages = (folder) => [...folder.messages];
const find = (folder, subject) => messages(folder).find((header) => header.mime2DecodedSubject == subject);
const copied = (start) => new Promise((resolve, reject) => start({
  onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() { return null; },
  onStopCopy(status) { Components.isSuccessCode(status) ? resolve() : reject(new Error(`copy: ${status}`)); },
}));
"""

TRUST = """
const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
certificates.addCertFromBase64(a[0], "C,,");
for (const kind of a[3]) {
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init(`${kind}://localhost`, null, `${kind}://localhost`, a[1], a[2], "", "");
  await Services.logins.addLoginAsync(login);
}
"""

LIST = """
server.performExpand(null);
const folder = await wait("INBOX", () => server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox));
folder.updateFolder(null);
await wait("three messages", () => messages(folder).length == 3);
return messages(folder).map((header) => header.mime2DecodedSubject).sort();
"""

READ = """
const header = find(inbox, a[0]);
const uri = inbox.getUriForMsg(header);
const service = MailServices.messageServiceFromURI(uri);
return await new Promise((resolve, reject) => service.streamMessage(uri, {
  QueryInterface: ChromeUtils.generateQI(["nsIStreamListener", "nsIRequestObserver"]),
  text: "",
  onStartRequest() {},
  onDataAvailable(request, stream, offset, count) {
    const binary = Cc["@mozilla.org/binaryinputstream;1"].createInstance(Ci.nsIBinaryInputStream);
    binary.setInputStream(stream);
    this.text += binary.readBytes(count);
  },
  onStopRequest(request, status) { Components.isSuccessCode(status) ? resolve(btoa(this.text)) : reject(new Error(status)); },
}, null, null, false, "", false));
"""


@contextlib.contextmanager
def running(user, server):
    """Thunderbird with an account on this server, logged in there and to SMTP where it has to; it quits in the end."""
    control = free_port()
    profile = pathlib.Path("profile")
    profile.mkdir()
    wanted = preferences(user, server, control)
    (profile / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in wanted.items()))
    command = ["xvfb-run", "-a", "thunderbird", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", str(profile.resolve())]
    with open("thunderbird.log", "wb") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        thunderbird = Marionette(control, PRELUDE.replace("KIND", server["type"]))
        authority = re.sub(r"-----.*?-----|\s", "", pathlib.Path(os.environ["CA"]).read_text())
        # Mail that is kept here is a mailbox.
        stored = "mailbox" if server["type"] == "pop3" else server["type"]
        thunderbird.run(TRUST, authority, user, PASSWORD, [stored, "smtp"])
        yield thunderbird
        thunderbird.send("Marionette:Quit", {"flags": ["eForceQuit"]})
        program.wait(SECONDS)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, 15)


def read(thunderbird, subject):
    """A message as Thunderbird gives it, with the line ends of Unix."""
    return base64.b64decode(thunderbird.run(READ, subject)).replace(b"\r\n", b"\n")


def main():
    user, other = sys.argv[1:]
    with running(user, imap_server(user)) as thunderbird:
        walk(thunderbird, user, other)


def walk(thunderbird, user, other):
    subjects = thunderbird.run(LIST)
    assert subjects == ["sample 0", "sample 1", "sample 2"], subjects
    text = read(thunderbird, "sample 0")
    sent = pathlib.Path("sent0").read_bytes().replace(b"\r\n", b"\n")
    assert text.endswith(sent), (text, sent)
    thunderbird.run('inbox.markMessagesFlagged([find(inbox, "sample 0")], true);')
    thunderbird.run('inbox.markMessagesRead([find(inbox, "sample 0")], true);')
    thunderbird.run(
        """const archive = await wait("Archive", () => server.rootFolder.getChildNamed("Archive"));
        await copied((listener) => MailServices.copy.copyMessages(inbox, [find(inbox, "sample 1")], archive, true, listener, null, false));
        await copied((listener) => inbox.deleteMessages([find(inbox, "sample 2")], null, false, false, listener, false));
        await wait("one message", () => messages(inbox).length == 1);"""
    )
    # A message arrives while Thunderbird waits.
    with smtp(other) as sender:
        sender.sendmail(other, [user], b"From: <%s>\r\nSubject: now\r\n\r\nnow\r\n" % other.encode())
    thunderbird.run('await wait("the new message", () => find(inbox, "now"));')
    send(thunderbird, user, other)
    check(user)


def send(thunderbird, user, other):
    thunderbird.run(
        """const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
        fields.from = a[0]; fields.to = a[1]; fields.subject = "from Thunderbird"; fields.body = "Hallo\\r\\n.\\r\\nEnde\\r\\n";
        const parameters = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
        parameters.composeFields = fields; parameters.format = Ci.nsIMsgCompFormat.PlainText;
        const identity = MailServices.accounts.allIdentities[0];
        parameters.identity = identity;
        const compose = MailServices.compose.initCompose(parameters);
        await compose.sendMsg(Ci.nsIMsgCompDeliverMode.Now, identity, "account1", null, null);""",
        user,
        other,
    )


def check(user):
    """What Thunderbird did stands in the mailboxes, soon: it works in the background."""
    expected = {"INBOX": ["now", "sample 0"], "Archive": ["sample 1"], "Trash": ["sample 2"], "flagged": ["sample 0"]}
    until = time.monotonic() + SECONDS
    while (found := state(user)) != expected:
        assert time.monotonic() < until, found
        time.sleep(0.5)


def state(user):
    """Subjects by mailbox of what is not deleted, and of what is flagged and read in INBOX."""
    session = imap(user)
    found = {}
    for name, mailbox, wanted in (
        ("INBOX", "INBOX", "UNDELETED"),
        ("Archive", "Archive", "UNDELETED"),
        ("Trash", "Trash", "UNDELETED"),
        ("flagged", "INBOX", "UNDELETED FLAGGED SEEN"),
    ):
        session.select(mailbox, readonly=True)
        numbers = session.search(None, wanted)[1][0].split()
        pieces = [session.fetch(number, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1] for number in numbers]
        found[name] = sorted(piece.decode().removeprefix("Subject: ").strip() for piece in pieces)
    session.logout()
    return found


if __name__ == "__main__":
    main()
