"""Validate an RO-Crate with rocrate-validator, offline: ``python validate_crate.py CRATE.zip``.

Run by an interpreter that has the validator (`make test-crate`). The JSON-LD context of RO-Crate 1.1, which the
validator would fetch, is replaced by the terms that our crates use.
"""

import io
import json
import sys
import urllib.request
from email.message import Message
from urllib.response import addinfourl

import rdflib._networking
import requests
import requests_cache

TERMS = (
    "Dataset CreativeWork CreateAction Person SoftwareApplication about author contentSize datePublished description "
    "encodingFormat endTime hasPart identifier instrument keywords license mentions name object result "
    "softwareVersion startTime url version"
)
CONTEXT = {term: f"http://schema.org/{term}" for term in TERMS.split()}
CONTEXT |= {"File": "http://schema.org/MediaObject", "conformsTo": "http://purl.org/dc/terms/conformsTo"}
CONTENT = json.dumps({"@context": CONTEXT}).encode()


def opened(request, *arguments, **options):
    address = request if isinstance(request, str) else request.full_url
    if not address.startswith("https://w3id.org/ro/crate/"):
        raise OSError(f"offline: {address}")
    head = Message()
    head["Content-Type"] = "application/ld+json"
    return addinfourl(io.BytesIO(CONTENT), head, address, 200)


def requested(session, method, url, **options):
    if not url.startswith("https://w3id.org/ro/crate/"):
        raise requests.ConnectionError(f"offline: {url}")
    response = requests.Response()
    response.status_code, response.url, response._content = 200, url, CONTENT
    response.headers["Content-Type"] = "application/ld+json"
    return response


urllib.request.urlopen = rdflib._networking.urlopen = opened
requests.Session.request = requests_cache.CachedSession.request = requested

from rocrate_validator import models, services  # noqa: E402 - after the network is gone

settings = services.ValidationSettings(
    rocrate_uri=sys.argv[1], profile_identifier="ro-crate-1.1", requirement_severity=models.Severity.REQUIRED
)
result = services.validate(settings)
for issue in result.get_issues():
    print(issue.severity.name, issue.check.identifier, issue.message)
print(len(result.executed_checks), "checks")
sys.exit(1 if result.has_issues() else 0)
