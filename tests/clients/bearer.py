"""Issues bearer tokens: bearer.py FOLDER makes a key and its set, jwks.json; bearer.py FOLDER ADDRESS SECONDS [SECONDS] prints a token, which
ends, and perhaps begins, after so many."""

import base64
import json
import os
import subprocess
import sys
import time

folder, *claims = sys.argv[1:]
key = os.path.join(folder, "issuer.pem")
run = lambda *command, **more: subprocess.run(["openssl", *command], check=True, capture_output=True, **more).stdout
encoded = lambda octets: base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

if not claims:
    run("genrsa", "-out", key, "2048")
    modulus = bytes.fromhex(run("rsa", "-in", key, "-noout", "-modulus").decode().strip().split("=")[1])
    public = {"kty": "RSA", "kid": "1", "n": encoded(modulus), "e": "AQAB"}
    with open(os.path.join(folder, "jwks.json"), "w") as file:
        json.dump({"keys": [public]}, file)
else:
    address, seconds, *begins = claims
    now = int(time.time())
    header = {"alg": "RS256", "kid": "1"}
    body = {"iss": "https://id.a.test", "aud": "mail", "email": address, "exp": now + int(seconds)}
    body.update({"nbf": now + int(seconds) for seconds in begins})
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, body))
    print(signed + "." + encoded(run("dgst", "-sha256", "-sign", key, input=signed.encode())))
