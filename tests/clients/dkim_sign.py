"""Signs messages by dkimpy: dkim_sign.py KEYS OUT MESSAGE…

KEYS is a folder with dkim-rsa.pem and dkim-ed25519.pem (PKCS#8); each selector is named as its kind. For each message, each kind of
key and each pair of canonicalizations a file is put into the folder OUT, named MESSAGE-KIND-HEADER-BODY; and one that ends with -length, whose
signature has l=.
"""

import base64
import os
import sys

import dkim

keys, out, *paths = sys.argv[1:]
forms = [(header, body) for header in (b"simple", b"relaxed") for body in (b"simple", b"relaxed")]


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def seed(pem):
    """The 32 octets of a key (RFC 8410 section 7), in base64, as dkimpy wants it."""
    der = base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-----")))
    return base64.b64encode(der.split(b"\x04\x22\x04\x20", 1)[1][:32])


secrets = {"rsa": read(keys, "dkim-rsa.pem"), "ed25519": seed(read(keys, "dkim-ed25519.pem"))}
for path in paths:
    message = read(path)
    for kind, secret in secrets.items():
        for form in forms:
            for length in (False, True):
                signer = dkim.DKIM(message, signature_algorithm=f"{kind}-sha256".encode())
                signed = [name.lower() for name, _ in signer.headers if name.lower() not in (b"received", b"return-path")]
                signature = signer.sign(
                    kind.encode(), b"a.test", secret, canonicalize=form, include_headers=signed + [b"from"], length=length
                )
                name = "-".join([os.path.basename(path), kind, *(word.decode() for word in form)])
                with open(os.path.join(out, name + ("-length" if length else "")), "wb") as file:
                    file.write(signature + message)
