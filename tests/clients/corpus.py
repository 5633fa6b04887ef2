"""Real messages of Debian packages, well-formed and not, with lines that end with CRLF."""

import os
import pathlib
import re

ROOT = pathlib.Path(os.environ["CORPORA"])
# Folder, pattern, fewest messages: a package that moved its files is noticed.
SOURCES = [
    ("usr/lib/python3.11/test/test_email/data", "*.txt", 47),
    ("usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/mail", "*.raw", 40),
    ("usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/low-quality", "*.raw", 12),
    ("usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/parts", "*.raw", 25),
    ("usr/lib/python3/dist-packages/flufl/bounce/tests/data", "*.txt", 110),
    ("usr/share/doc/spamassassin/examples", "sample-*.txt", 2),
]


def originals():
    """Name → octets as the package has them."""
    found = {}
    for folder, pattern, fewest in SOURCES:
        paths = sorted((ROOT / folder).glob(pattern))
        assert len(paths) >= fewest, f"{folder} holds {len(paths)} messages, not {fewest}"
        found |= {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}
    return {name: octets for name, octets in found.items() if octets}


def with_crlf(octets):
    """Each LF that stands alone becomes CRLF; so does a missing last one."""
    octets = re.sub(rb"(?<!\r)\n", b"\r\n", octets)
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def messages():
    """Name → message."""
    return {name: with_crlf(octets) for name, octets in originals().items()}


def fault(octets):
    """What SMTP does not carry (RFC 5321 section 2.3.8): the first fault, as the server names it."""
    faults = [(b"a CR without LF", rb"\r(?!\n)"), (b"a LF without CR", rb"(?<!\r)\n"), (b"a NUL", rb"\0")]
    found = [(match.start(), name) for name, pattern in faults if (match := re.search(pattern, octets))]
    return min(found)[1] if found else None
