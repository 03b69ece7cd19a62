"""The OpenTelemetry SDK for Python as programs set it up: exporters of a protocol, and what they say of each export."""
import importlib
import json
import logging
import pathlib
import sys

from opentelemetry.sdk.resources import Resource

logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

PACKAGES = {"http/json": "json.http", "http/protobuf": "proto.http", "grpc": "proto.grpc"}
MODULES = {"logs": "_log_exporter", "metrics": "metric_exporter", "traces": "trace_exporter"}
CLASSES = {"logs": "OTLPLogExporter", "metrics": "OTLPMetricExporter", "traces": "OTLPSpanExporter"}

RESOURCE = Resource.create({
    "service.name": "phone-fleet", "service.version": "2.0.4", "device.id": "sdk-01",
    "device.model.name": "P14", "region": "DE", "gpc": False,
})

# Whether each export was delivered, in their order.
results = []


def exporter(signal, protocol, endpoint, token, certificate=None):
    """An exporter with gzip, as it is but for its results, which are noted. The token is "" for none, the certificate the one to trust."""
    package = f"opentelemetry.exporter.otlp.{PACKAGES[protocol]}"
    make = getattr(importlib.import_module(f"{package}.{MODULES[signal]}"), CLASSES[signal])
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if protocol == "grpc":
        import grpc

        trusted = certificate and grpc.ssl_channel_credentials(root_certificates=pathlib.Path(certificate).read_bytes())
        made = make(endpoint=endpoint, insecure=trusted is None, credentials=trusted, timeout=10,
                    compression=grpc.Compression.Gzip, headers=tuple(headers.items()))
    else:
        from opentelemetry.exporter.otlp.common.http import Compression

        made = make(endpoint=f"{endpoint}/v1/{signal}", headers=headers, compression=Compression.GZIP, timeout=10,
                    certificate_file=certificate)
    export = made.export

    def noting(*arguments, **named):
        result = export(*arguments, **named)
        results.append(result.name == "SUCCESS")
        return result

    made.export = noting
    return made


def finish():
    """Prints the results; the exit code is 0 if there are some and all were delivered."""
    print(json.dumps(results))
    sys.exit(0 if results and all(results) else 1)
