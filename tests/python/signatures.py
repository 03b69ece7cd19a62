"""Verifies a request of ours and signs it anew with PyPI `http-message-signatures`: JSON on standard input and output."""

import base64
import datetime
import json
import sys
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)


def url_bytes(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Keys(HTTPSignatureKeyResolver):
    """Whose id is the key itself."""

    def __init__(self, seed):
        self.seed = seed

    def resolve_public_key(self, key_id):
        return Ed25519PublicKey.from_public_bytes(url_bytes(key_id))

    def resolve_private_key(self, key_id):
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def message(request, headers):
    return SimpleNamespace(method=request["method"], url=request["url"], headers=dict(headers))


def verifies(request, body):
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Keys(None))
    try:
        found = verifier.verify(message(request, request["headers"]), body=body)
    except InvalidSignature:
        return False
    return [one.label for one in found] == ["candor"]


def signed(request, body):
    unsigned = {n: v for n, v in request["headers"].items() if n not in ("signature", "signature-input", "content-digest")}
    ours = message(request, unsigned)
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys(bytes.fromhex(request["seed"])))
    signer.sign(
        ours,
        key_id=request["key"],
        created=datetime.datetime.fromtimestamp(request["created"], datetime.timezone.utc),
        expires=datetime.datetime.fromtimestamp(request["created"] + 60, datetime.timezone.utc),
        nonce=request["nonce"],
        label="candor",
        covered_component_ids=("@method", "@authority", "@path", "@query", *sorted(unsigned)),
        body=body,
    )
    return {name.lower(): value for name, value in ours.headers.items()}


requests = json.load(sys.stdin)
answers = []
for request in requests:
    body = None if request["body"] is None else request["body"].encode()
    answers.append({"verifies": verifies(request, body), "headers": signed(request, body)})
json.dump(answers, sys.stdout)
