"""Reads the mail of reports: read_report.py MESSAGE…

Checks a DMARC report (RFC 9990) against its schema, element by element, and a report of TLS (RFC 8460) against what its fields may be; the
mail around them against the rules for subject, file name and media types. Prints one line of JSON for each message.
"""

import gzip
import ipaddress
import json
import re
import sys
import xml.etree.ElementTree as tree
from email import policy
from email.parser import BytesParser

NAMESPACE = "{urn:ietf:params:xml:ns:dmarc-2.0}"
DOMAIN = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
NUMBER, ANY = r"\d+", r"[^\x00-\x08\x0b\x0c\x0e-\x1f]*"
POLICY, ALIGNMENT, RESULT = "none|quarantine|reject", "r|s", "pass|fail"
AUTH = "none|pass|fail|policy|neutral|temperror|permerror"


def ip(text):
    return ipaddress.ip_address(text)


# an element is the pattern of its text, or whether the order counts, and its children with how often they may be there
REASON = (False, [("type", "1", "local_policy|mailing_list|other|policy_test_mode|trusted_forwarder"), ("comment", "?", ANY)])
DKIM = (False, [("domain", "1", DOMAIN), ("selector", "1", DOMAIN), ("result", "1", AUTH), ("human_result", "?", ANY)])
SPF = (False, [("domain", "1", DOMAIN), ("scope", "?", "mfrom"), ("result", "1", AUTH + "|softfail"), ("human_result", "?", ANY)])
EVALUATED = (True, [("disposition", "1", POLICY + "|pass"), ("dkim", "1", RESULT), ("spf", "1", RESULT), ("reason", "*", REASON)])
RECORD = (True, [
    ("row", "1", (True, [("source_ip", "1", ip), ("count", "1", NUMBER), ("policy_evaluated", "1", EVALUATED)])),
    ("identifiers", "1", (False, [("header_from", "1", DOMAIN), ("envelope_from", "?", f"({DOMAIN})?"), ("envelope_to", "?", DOMAIN)])),
    ("auth_results", "1", (True, [("dkim", "*", DKIM), ("spf", "?", SPF)])),
])
FEEDBACK = (True, [
    ("version", "?", r"1\.0"),
    ("report_metadata", "1", (False, [
        ("org_name", "1", ANY), ("email", "1", r"\S+@\S+"), ("extra_contact_info", "?", ANY), ("report_id", "1", r"[A-Za-z0-9.@]+"),
        ("date_range", "1", (False, [("begin", "1", NUMBER), ("end", "1", NUMBER)])), ("error", "?", ANY), ("generator", "?", ANY),
    ])),
    ("policy_published", "1", (False, [
        ("domain", "1", DOMAIN), ("discovery_method", "?", "psl|treewalk"), ("p", "1", POLICY), ("sp", "?", POLICY), ("np", "?", POLICY),
        ("fo", "?", r"[01ds](:[01ds])*"), ("adkim", "?", ALIGNMENT), ("aspf", "?", ALIGNMENT), ("testing", "?", "n|y"),
    ])),
    ("extension", "?", (False, [])),
    ("record", "+", RECORD),
])


def check(element, name, kind):
    assert element.tag == NAMESPACE + name, element.tag
    if callable(kind):
        return kind(element.text)
    if isinstance(kind, str):
        assert len(element) == 0 and re.fullmatch(kind, element.text or ""), f"{name}: {element.text!r}"
        return None
    ordered, children = kind
    assert not (element.text or "").strip(), f"{name} has text"
    names = [child.tag.removeprefix(NAMESPACE) for child in element]
    for child, times, below in children:
        count = names.count(child)
        assert count == 1 or (count == 0 and times in "?*") or (count > 1 and times in "*+"), f"{count} {child} in {name}"
        for found in element.findall(NAMESPACE + child):
            check(found, child, below)
    known = [child for child, _, _ in children]
    assert set(names) <= set(known), names
    assert not ordered or names == sorted(names, key=known.index), names
    return None


def dmarc(text):
    assert b"<!" not in text
    root = tree.fromstring(text)
    check(root, "feedback", FEEDBACK)

    def get(element, path):
        return element.findtext("/".join(NAMESPACE + step for step in path.split("/")))

    records = [
        {
            "source": get(record, "row/source_ip"),
            "count": int(get(record, "row/count")),
            "disposition": get(record, "row/policy_evaluated/disposition"),
            "dkim": get(record, "row/policy_evaluated/dkim"),
            "spf": get(record, "row/policy_evaluated/spf"),
            "from": get(record, "identifiers/header_from"),
        }
        for record in root.findall(NAMESPACE + "record")
    ]
    period = [int(get(root, f"report_metadata/date_range/{end}")) for end in ("begin", "end")]
    return get(root, "policy_published/domain"), get(root, "report_metadata/report_id"), period, {"records": records}


def tls(text):
    from datetime import datetime

    report = json.loads(text)
    assert set(report) == {"organization-name", "date-range", "contact-info", "report-id", "policies"}, report
    period = [report["date-range"][name] for name in ("start-datetime", "end-datetime")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in period), period
    period = [int(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()) for time in period]
    for results in report["policies"]:
        assert results["policy"]["policy-type"] in ("tlsa", "sts", "no-policy-found")
        counts = results["summary"]
        assert set(counts) == {"total-successful-session-count", "total-failure-session-count"}
        failed = sum(details["failed-session-count"] for details in results.get("failure-details", []))
        assert failed <= counts["total-failure-session-count"]
    counted = [[results["policy"]["policy-type"], *results["summary"].values()] for results in report["policies"]]
    return report["policies"][0]["policy"]["policy-domain"], report["report-id"], period, {"policies": counted}


for path in sys.argv[1:]:
    with open(path, "rb") as file:
        message = BytesParser(policy=policy.default).parse(file)
    text, attachment = message.iter_parts()
    assert text.get_content_type() == "text/plain" and attachment.get_content_disposition() == "attachment"
    kind = {"application/gzip": "dmarc", "application/tlsrpt+gzip": "tls"}[attachment.get_content_type()]
    content = gzip.decompress(attachment.get_content())
    domain, report_id, period, told = {"dmarc": dmarc, "tls": tls}[kind](content)
    subject = re.fullmatch(rf"Report Domain: ({DOMAIN}) Submitter: ({DOMAIN}) Report-ID: <([^<> ]+)>", message["Subject"])
    assert subject and subject[1] == domain and subject[3] == report_id, message["Subject"]
    extension = "xml.gz" if kind == "dmarc" else "json.gz"
    name = re.fullmatch(r"([^!]+)!([^!]+)!(\d+)!(\d+)!([A-Za-z0-9]+)\." + re.escape(extension), attachment.get_filename())
    assert name and (name[1], name[2]) == (subject[2], domain), attachment.get_filename()
    assert [int(name[3]), int(name[4])] == period and period[1] - period[0] == 86399, period
    assert report_id.split("@")[0] == name[5], report_id
    if kind == "tls":
        assert message.get_content_type() == "multipart/report" and message.get_param("report-type") == "tlsrpt"
        assert (message["TLS-Report-Domain"], message["TLS-Report-Submitter"]) == (domain, subject[2])
    results = " ".join(str(message["Authentication-Results"]).split())
    print(json.dumps({"kind": kind, "domain": domain, "by": subject[2], "results": results, **told}))
