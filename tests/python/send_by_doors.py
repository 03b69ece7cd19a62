"""Sends events through the real clients of the protocols beside OTLP.

    send_by_doors.py cloudevents URL TOKEN SUBJECT    an event in each mode of the HTTP binding
    send_by_doors.py segment     URL KEY SUBJECT      messages of each kind, in one batch
    send_by_doors.py segment-fast URL KEY SUBJECT     the same, a batch for each message
    send_by_doors.py glean       URL FOLDER           the pings of a session; FOLDER keeps the SDK's state
    send_by_doors.py opt-out     URL FOLDER           a later start of the same program, whose user said no meanwhile

Ends with 0 only if the client itself holds that all was delivered; 3: the client is not installed.
"""

import sys
import time
from pathlib import Path


def cloudevents(url: str, token: str, subject: str) -> bool:
    import requests
    from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    form = JSONFormat()

    def event(number: int, **more: str) -> CloudEvent:
        attributes = {"type": "com.example.order", "source": "/shop", "id": f"order-{number}", "subject": subject}
        return CloudEvent({**attributes, **more}, {"total": number, "card": "4111111111111111"})

    batch = b"[" + b",".join(form.write(event(number)) for number in (4, 5)) + b"]"
    messages = [
        to_structured(event(1), form),
        to_binary(event(2, datacontenttype="application/json"), form),
        to_binary(event(3), form),
        HTTPMessage({"content-type": "application/cloudevents-batch+json"}, batch),
    ]
    statuses = []
    for message in messages:
        headers = {**message.headers, "authorization": f"Bearer {token}"}
        statuses.append(requests.post(url, data=message.body, headers=headers, timeout=30).status_code)
    print(statuses, file=sys.stderr)
    return statuses == [200] * len(messages)


def segment(url: str, key: str, subject: str, size: int = 100) -> bool:
    from segment.analytics.client import Client

    errors = []
    client = Client(key, host=url, gzip=True, max_retries=2, upload_size=size, on_error=lambda error, _: errors.append(error))
    for rssi in (-40, -41, -42):
        properties = {"device_type": "lamp", "rssi": rssi, "secret": "not declared"}
        client.track(subject, "Device Paired", properties, context={"ip": "198.51.100.7"})
    client.identify(subject, {"email": "jean.dupont@example.com"})
    client.page(subject, "Home", "Start")
    client.flush()
    client.join()
    print(errors, file=sys.stderr)
    return not errors


def glean(url: str, folder: str, upload_enabled: bool = True) -> bool:
    from glean import Configuration, Glean

    Glean.initialize(
        application_id="org-example-hub",
        application_version="4.2.0",
        application_build_id="20261122",
        upload_enabled=upload_enabled,
        data_dir=Path(folder),
        configuration=Configuration(server_endpoint=url, channel="acceptance", allow_multiprocessing=False),
    )
    if upload_enabled:
        Glean.handle_client_active()
        Glean.handle_client_inactive()
    # The SDK keeps a file for each ping until it was delivered or refused for good.
    for _ in range(300):
        time.sleep(0.1)
        pending = [path for name in ("pending_pings", "deletion_request") for path in Path(folder, name).glob("*")]
        if not pending:
            break
    Glean.shutdown()
    print(len(pending), "pings are pending", file=sys.stderr)
    return not pending


DOORS = {
    "cloudevents": cloudevents,
    "segment": segment,
    "segment-fast": lambda url, key, subject: segment(url, key, subject, size=1),
    "glean": glean,
    "opt-out": lambda url, folder: glean(url, folder, upload_enabled=False),
}

if __name__ == "__main__":
    try:
        delivered = DOORS[sys.argv[1]](*sys.argv[2:])
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    sys.exit(0 if delivered else 1)
