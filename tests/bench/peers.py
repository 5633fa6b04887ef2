"""Servers to measure, each in a control group of its own: Waypost, Debian's Postfix with Dovecot, and null servers.

Postfix and Dovecot's LMTP and POP3 come from packages that are unpacked into target/peers and not installed; nothing of the system's own
configuration or services is used. Needs root and a writable cgroup2.
"""

import contextlib, errno, re, time
import json
import os
import pathlib
import pwd
import resource
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "target/peers"
LOAD = ROOT / "target/release/waypost-load"
DOMAIN, PASSWORD, MAILBOXES = "a.test", "secret", 16
PACKAGES = ("postfix", "exim4-daemon-light", "opensmtpd", "dovecot-lmtpd", "dovecot-pop3d")
WAIT_SECONDS = 30
# Others are quiet below this part of the machine.
CALM, TRIES_MAX = 0.1, 8

# Debian's Postfix as it is after installation as an Internet site with delivery by Dovecot, without its chroot and without access to
# what else is on this machine. What is not named here has Postfix's default: each queue file is synced before its 250.
POSTFIX_MAIN = """
compatibility_level = 3.6
config_directory = {home}/postfix
queue_directory = {home}/postfix/queue
data_directory = {home}/postfix/data
command_directory = {peers}/usr/sbin
daemon_directory = {peers}/usr/lib/postfix/sbin
shlib_directory = {peers}/usr/lib/postfix
meta_directory = {peers}/etc/postfix
import_environment = MAIL_CONFIG LANG=C LD_LIBRARY_PATH
mail_owner = daemon
setgid_group = mail
default_privs = nobody
myhostname = mx.a.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = a.test
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:unix:{home}/dovecot/lmtp
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = {tls}
smtpd_tls_cert_file = {home}/cert.pem
smtpd_tls_key_file = {home}/key.pem
"""
POSTFIX_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
POSTFIX_RELAY = """
virtual_mailbox_domains =
smtpd_relay_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
relayhost = [{host}]:{port}
"""
# Maildir, with Dovecot's default mail_fsync = optimized, written down as it matters here.
DOVECOT = """
protocols = imap lmtp
base_dir = {home}/dovecot
state_dir = {home}/dovecot
log_path = {home}/dovecot.log
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_max_userip_connections = 12000
mail_location = maildir:{home}/mail/%n
mail_fsync = optimized
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={home}/mail/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  executable = {peers}/usr/lib/dovecot/lmtp
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""
# Added for POP3; what is not named here has Dovecot's default.
DOVECOT_POP3 = """
protocols = imap lmtp pop3
service pop3-login {{
  executable = {peers}/usr/lib/dovecot/pop3-login
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service pop3 {{
  executable = {peers}/usr/lib/dovecot/pop3
}}
"""


def prepare(folder):
    """What every benchmark needs: open files, the packages, a real disk."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.getuid() != 0:
        raise SystemExit("needs root: Postfix does not run without, and control groups count the processor time")
    subprocess.run([ROOT / "tests/unpack", "peers", *PACKAGES], check=True)
    if not LOAD.exists():
        raise SystemExit(f"{LOAD} is missing: cargo build --release -p waypost-tests --bin waypost-load")
    disk_only(folder)


def disk_only(folder):
    """Refuses a folder where syncing costs nothing."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], check=True, capture_output=True, text=True).stdout.strip()
    if kind in ("tmpfs", "overlayfs", "ramfs"):
        raise SystemExit(f"{folder} is on {kind}, where syncing costs nothing: set TMPDIR to a folder on a disk")


class Group:
    """A control group: the processor time of all that ever ran in it, ended processes included, and what still runs."""

    made = 0

    def __init__(self):
        mounts = pathlib.Path("/proc/mounts").read_text().splitlines()
        root = next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)
        if root is None:
            raise SystemExit("no cgroup2 is mounted: nothing to count processor time with")
        Group.made += 1
        self.path = pathlib.Path(root) / f"waypost-bench-{os.getpid()}-{Group.made}"
        self.path.mkdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def join(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def start(self, command, **options):
        return subprocess.Popen(command, preexec_fn=self.join, **options)

    def micros(self, kind="usage_usec"):
        stat = (self.path / "cpu.stat").read_text()
        return int(next(line.split()[1] for line in stat.splitlines() if line.startswith(kind)))

    def processes(self):
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def end(self):
        """Ends what is left, gently first. All of it was started here."""
        for number in range(400):
            left = self.processes()
            if not left:
                break
            for process in left if number in (0, 200, 300) else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL if number else signal.SIGTERM)
            time.sleep(0.05)
        for _ in range(100):
            # Processes that have just ended still hold it for a moment.
            try:
                return self.path.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(0.05)
        self.path.rmdir()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, done):
    end = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"{what} within {WAIT_SECONDS} s")
        time.sleep(0.05)


def answers(port, greeting):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
        return peer.recv(512).startswith(greeting)
    return False


def certificate(home):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=home, check=True, stderr=subprocess.DEVNULL)


class Quiet:
    """What others do on the machine, and patience with it: measurements that they disturb are taken again while there is patience."""

    def __init__(self, patience):
        self.patience, self.worst = patience, 0.0

    @staticmethod
    def user_seconds():
        """Processor time of all programs, in user mode: compilers and tests of others; not what our own writing has the kernel do."""
        user, nice = pathlib.Path("/proc/stat").read_text().split()[1:3]
        return (int(user) + int(nice)) / os.sysconf("SC_CLK_TCK")

    def part(self, begun, before, own_micros=0):
        """The part of the machine that others took since."""
        others = self.user_seconds() - before - own_micros / 1e6
        return max(0.0, others / (time.monotonic() - begun) / os.cpu_count())

    def wait(self):
        while self.patience > 0:
            begun, before = time.monotonic(), self.user_seconds()
            time.sleep(0.5)
            if self.part(begun, before) < CALM:
                return
            self.patience -= 0.5

    def measure(self, take):
        """`take` gives figures and the microseconds in user mode that belong to them; the least disturbed of its figures."""
        tries = []
        while not tries or (tries[-1][0] > CALM and self.patience > 0 and len(tries) < TRIES_MAX):
            self.wait()
            begun, before = time.monotonic(), self.user_seconds()
            figures, own_micros = take()
            tries.append((self.part(begun, before, own_micros), figures))
            if tries[-1][0] > CALM:
                self.patience -= time.monotonic() - begun
        disturbed, figures = min(tries, key=lambda tried: tried[0])
        self.worst = max(self.worst, disturbed)
        return figures


def memory_kib(server):
    """RssAnon of a server."""
    status = pathlib.Path(f"/proc/{server.mains[0].pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


class ImapSession:
    """An IMAP session, with a mailbox selected."""

    def __init__(self, address, user=0, mailbox="INBOX"):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.recv(4096)
        self.run(f"LOGIN user{user}@{DOMAIN} {PASSWORD}")
        if mailbox:
            self.run(f"SELECT {mailbox}")

    def run(self, command):
        """Octets of the answer. It ends with a line of its own that begins with the tag."""
        self.socket.sendall(f"t9 {command}\r\n".encode())
        count, end = 0, b""
        while not re.search(rb"(?:^|\r\n)t9 [^\r\n]*\r\n$", end):
            octets = self.socket.recv(1 << 18)
            assert octets, "the server hung up"
            count, end = count + len(octets), (end + octets)[-4000:]
        assert b"t9 OK" in end, end
        return count


class Server:
    """`with` starts it in `home`, below `wrap` where there is one (strace), and ends all of it."""

    def __init__(self, home, wrap=(), tls=False):
        self.home, self.wrap, self.tls = pathlib.Path(home), list(wrap), tls

    def __enter__(self):
        """What a server before it left in `home` is there again."""
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o755)
        certificate(self.home)
        self.group = Group()
        try:
            self.begin()
        except BaseException:
            self.group.end()
            raise
        return self

    def __exit__(self, *_):
        for process in self.group.processes() if self.wrap else ():
            # strace reports when all that it follows has ended.
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if pathlib.Path(f"/proc/{process}/comm").read_text().strip() != "strace":
                    os.kill(process, signal.SIGTERM)
        for main in self.mains if self.wrap else ():
            main.wait(WAIT_SECONDS)
        self.group.end()


class Waypost(Server):
    name = "Waypost"

    def __init__(self, home, program, sink=None, accounts=MAILBOXES, **options):
        super().__init__(home, **options)
        self.program, self.sink, self.accounts = program, sink, accounts

    def begin(self):
        config = self.home / "waypost.toml"
        config.touch(0o600)
        accounts = "".join(f'[[account]]\naddress = "user{n}@{DOMAIN}"\npassword = "{PASSWORD}"\n' for n in range(self.accounts))
        domain = f'[[domain]]\nname = "{DOMAIN}"\n{accounts}'
        if self.sink:
            relayed = f'[[route]]\ndomain = "*"\nnext_hop = "{self.sink}"\ntls = "none"\n'
            domain = f'[[domain]]\nname = "here.test"\n[[trust]]\nnetworks = ["127.0.0.0/8"]\n{relayed}'
        config.write_text(
            f'hostname = "mx.{DOMAIN}"\nstate_dir = "state"\n[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
            f'{domain}[limits]\nconnections = 12000\nconnections_per_address = 0\n'
            f'[[listener]]\nservice = "smtp"\naddress = "127.0.0.1:0"\ntls = "{"starttls" if self.tls else "none"}"\n'
            + "".join(f'[[listener]]\nservice = "{s}"\naddress = "127.0.0.1:0"\ntls = "none"\nauth_without_tls = true\n' for s in ("imap", "pop3"))
        )
        log = self.home / "log"
        with open(log, "w") as file:
            self.mains = [self.group.start([*self.wrap, self.program, "serve", "--config", config], stderr=file)]
        ready = lambda: next((line for line in log.read_text().splitlines() if line.startswith("ready ")), None)
        until("Waypost does not start", ready)
        services = dict(word.split("=") for word in ready().split()[1:])
        self.smtp, self.imap, self.pop3 = services["smtp"], services["imap"], services["pop3"]


class Postfix(Server):
    """Relays all to a sink."""

    name = "Postfix"

    def __init__(self, home, sink, **options):
        super().__init__(home, **options)
        self.sink = sink

    def begin(self):
        smtp = free_port()
        self.write_postfix({"home": self.home, "peers": PEERS, "tls": "none"}, smtp)
        host, port = self.sink.split(":")
        with open(self.home / "postfix/main.cf", "a") as main:
            main.write(POSTFIX_RELAY.format(host=host, port=port))
        with open(self.home / "log", "w") as log:
            self.mains = [self.start_postfix(log)]
        until("Postfix does not start", lambda: answers(smtp, b"220"))
        self.smtp, self.imap = f"127.0.0.1:{smtp}", None

    def start_postfix(self, log):
        command = [PEERS / "usr/lib/postfix/sbin/master", "-d", "-c", self.home / "postfix"]
        environment = {"LD_LIBRARY_PATH": str(PEERS / "usr/lib/postfix"), "MAIL_CONFIG": str(self.home / "postfix"), "PATH": os.environ["PATH"]}
        return self.group.start([*self.wrap, *command], stdout=log, stderr=log, start_new_session=True, env=environment)

    def write_postfix(self, values, port):
        """Configuration, and the queue as `postfix check` makes it."""
        owner, group = pwd.getpwnam("daemon"), 8
        config = self.home / "postfix"
        config.mkdir()
        (config / "main.cf").write_text(POSTFIX_MAIN.format(**values))
        (config / "master.cf").write_text(POSTFIX_MASTER.format(port=port))
        (config / "queue").mkdir()
        own = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
        modes = {**dict.fromkeys(own, 0o700), "maildrop": 0o730, "public": 0o710, "pid": 0o755}
        for name, mode in modes.items():
            path = config / "queue" / name
            path.mkdir()
            if name != "pid":
                os.chown(path, owner.pw_uid, group if name in ("maildrop", "public") else 0)
            path.chmod(mode)
        (config / "data").mkdir(0o700)
        os.chown(config / "data", owner.pw_uid, 0)


class Dovecot(Server):
    """Maildirs below `home`/mail."""

    name = "Dovecot"

    def begin(self):
        imap = free_port()
        self.write_dovecot(imap)
        with open(self.home / "log", "w") as log:
            self.mains = [self.start_dovecot(log)]
        until("Dovecot does not start", lambda: answers(imap, b"* OK"))
        self.smtp, self.imap = None, f"127.0.0.1:{imap}"

    def write_dovecot(self, port):
        mail, nobody = self.home / "mail", pwd.getpwnam("nobody")
        for folder in (self.home / "dovecot", mail):
            folder.mkdir(exist_ok=True)
        os.chown(mail, nobody.pw_uid, nobody.pw_gid)
        values = {"home": self.home, "peers": PEERS, "password": PASSWORD, "port": port}
        (self.home / "dovecot.conf").write_text(DOVECOT.format(**values))

    def start_dovecot(self, log):
        command = [*self.wrap, "/usr/sbin/dovecot", "-F", "-c", self.home / "dovecot.conf"]
        return self.group.start(command, stdout=log, stderr=log, start_new_session=True)


class DovecotPop3(Dovecot):
    """With POP3 beside IMAP."""

    def begin(self):
        super().begin()
        until("Dovecot does not start POP3", lambda: answers(self.pop3, b"+OK"))
        self.pop3 = f"127.0.0.1:{self.pop3}"

    def write_dovecot(self, port):
        super().write_dovecot(port)
        self.pop3 = free_port()
        with open(self.home / "dovecot.conf", "a") as config:
            config.write(DOVECOT_POP3.format(peers=PEERS, port=self.pop3))


class PostfixDovecot(Postfix, Dovecot):
    name = "Postfix + Dovecot"

    def __init__(self, home, **options):
        super().__init__(home, None, **options)

    def begin(self):
        smtp, imap = free_port(), free_port()
        self.write_postfix({"home": self.home, "peers": PEERS, "tls": "may" if self.tls else "none"}, smtp)
        self.write_dovecot(imap)
        with open(self.home / "log", "w") as log:
            self.mains = [self.start_postfix(log), self.start_dovecot(log)]
        until("Postfix does not start", lambda: answers(smtp, b"220"))
        until("Dovecot does not start", lambda: answers(imap, b"* OK"))
        self.smtp, self.imap = f"127.0.0.1:{smtp}", f"127.0.0.1:{imap}"


class Null(Server):
    """A limit: says 250 and keeps nothing."""

    name = "null server"

    def begin(self):
        log = self.home / "log"
        with open(log, "w") as file:
            self.mains = [self.group.start([*self.wrap, LOAD, "null"], stdout=file)]
        until("the null server does not start", lambda: log.read_text().endswith("\n"))
        self.smtp, self.imap = log.read_text().split("=")[1].strip(), None


class NullPop3(Server):
    """A limit: says the octets of a download and does nothing else."""

    name = "null server"

    def __init__(self, home, messages, octets):
        super().__init__(home)
        self.words = [f"messages={messages}", f"octets={octets}"]

    def begin(self):
        log = self.home / "log"
        with open(log, "w") as file:
            self.mains = [self.group.start([LOAD, "null-pop3", *self.words], stdout=file)]
        until("the null server does not start", lambda: log.read_text().endswith("\n"))
        self.pop3 = log.read_text().split("=")[1].strip()


def load(what, group=None, **words):
    """One run of the load; what it measured."""
    command = [LOAD, what, *(f"{name}={value}" for name, value in words.items() if value is not None)]
    started = group.start(command, stdout=subprocess.PIPE, text=True) if group else subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = started.communicate(timeout=600)[0]
    if started.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return json.loads(said)
