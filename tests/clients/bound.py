"""Logs in over submission by SCRAM that is bound to the TLS connection, which OpenSSL's own client makes.

Arguments: the mechanism's hash (sha256, sha1), the binding, the password, and `other` for a binding of another connection.
"""

import base64
import hashlib
import hmac
import os
import re
import subprocess
import sys

hash_name, binding, password, connection = sys.argv[1:5]
mechanism = {"sha256": "SCRAM-SHA-256-PLUS", "sha1": "SCRAM-SHA-1-PLUS"}[hash_name]
encoded = lambda octets: base64.b64encode(octets).decode()
sign = lambda key, octets: hmac.new(key, octets, hash_name).digest()

client = subprocess.Popen(
    ["openssl", "s_client", "-connect", "localhost:" + os.environ["SUBMISSIONS"], "-crlf", "-ign_eof",
     "-CAfile", os.environ["CA"], "-verify_return_error", "-showcerts",
     "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def reply(code):
    """The next reply's last line, and all that came before it."""
    lines = []
    while not lines or not re.match(code + " ", lines[-1]):
        line = client.stdout.readline()
        if not line:
            sys.exit("the connection ended after " + "".join(lines))
        lines.append(line.rstrip("\n"))
    return lines[-1][4:].strip(), "\n".join(lines)


def say(line):
    client.stdin.write(line + "\n")
    client.stdin.flush()


_, before = reply("220")
exporter = bytes.fromhex(re.search("Keying material: ([0-9A-F]+)", before)[1])
certificate = re.search("-----BEGIN CERTIFICATE-----(.*?)-----END", before, re.DOTALL)[1]
data = {
    "tls-exporter": exporter,
    "tls-server-end-point": hashlib.sha256(base64.b64decode(certificate)).digest(),
}[binding]
if connection == "other":
    data = bytes(len(data))

say("EHLO client.test")
reply("250")
header = f"p={binding},,"
bare = "n=alice@a.test,r=" + encoded(os.urandom(12))
say(f"AUTH {mechanism} {encoded((header + bare).encode())}")
server_first = base64.b64decode(reply("334")[0]).decode()
shown = dict(attribute.split("=", 1) for attribute in server_first.split(","))
without_proof = "c=" + encoded(header.encode() + data) + ",r=" + shown["r"]
auth_message = ",".join([bare, server_first, without_proof]).encode()
salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), base64.b64decode(shown["s"]), int(shown["i"]))
client_key = sign(salted, b"Client Key")
signature = sign(hashlib.new(hash_name, client_key).digest(), auth_message)
proof = bytes(a ^ b for a, b in zip(client_key, signature))
say(encoded(f"{without_proof},p={encoded(proof)}".encode()))
answer, said = reply("334|535")
if said.splitlines()[-1].startswith("334"):
    server_signature = encoded(sign(sign(salted, b"Server Key"), auth_message))
    assert base64.b64decode(answer).decode() == "v=" + server_signature, "the server does not know the password"
    say("")
    reply("235")
    print("logged in")
else:
    print("refused")
client.kill()
