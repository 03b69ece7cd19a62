#!/usr/bin/env python3
"""Prints the rows that the seeds' policy must leave of tests/expected/events.jsonl, one JSON object a line.

This is the policy read by a person and written down as straight Python: it shares no code with the project, so that
the two can only agree if both are right. Standard library only. Left out: `decision`, `consent_seq`, `batch` and
`received_date`, which depend on the run. A column that is null is left out of the line.

    python3 tests/python/expected_rows.py > tests/expected/rows.jsonl
"""
import hashlib
import hmac
import ipaddress
import json
import math
import pathlib
import tomllib
from datetime import datetime, timezone

HERE = pathlib.Path(__file__).resolve().parent.parent / "expected"
RING = tomllib.loads((HERE / "ring.toml").read_text())
JURISDICTION = {"DE": "EU", "FR": "EU", "US-CA": "US-CA", "CN": "CN"}


def secret(key):
    return bytes.fromhex(key["secret"])


def table_subject(device, purpose):
    newest = max(RING["subject"], key=lambda key: key["generation"])
    ledger_id = hmac.new(secret(RING["ledger"]), device.encode(), hashlib.sha256).digest()
    subject_id = hmac.new(secret(newest), ledger_id, hashlib.sha256).digest()
    return hashlib.sha256(b"candor/table/v1" + subject_id + purpose.encode()).digest()[:16].hex()


def pseudonym(purpose, column, value):
    key = RING["named"][purpose]
    domain = purpose.encode() + b"\0" + column.encode()
    message = len(domain).to_bytes(2, "big") + domain + key["generation"].to_bytes(8, "big") + value.encode()
    return hmac.new(secret(key), message, hashlib.sha256).digest()[:16].hex()


def floor_to(value, width, origin=0):
    """Lower end of the interval that holds the value."""
    if isinstance(value, int) and isinstance(width, int):
        return (value - origin) // width * width + origin
    return math.floor((value - origin) / width) * width + origin


def network(address):
    ip = ipaddress.ip_address(address)
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False).network_address)


def instant(unix_nano, unit):
    at = datetime.fromtimestamp(int(unix_nano) // 10**9, timezone.utc)
    at = at.replace(second=0)
    if unit in ("hour", "day"):
        at = at.replace(minute=0)
    if unit == "day":
        at = at.replace(hour=0)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


# ---------------------------------------------------------------- may the purpose have the event at all


def diagnostics_allowed(where, state, age, gpc):
    if where == "US-CA":
        return state not in ("refused", "withdrawn")
    return state == "given"


def analytics_allowed(where, state, age, gpc):
    least = {"EU": 16, "US-CA": 0, "CN": 14, "unknown": 16}[where]
    if least and (age is None or age < least):
        return False
    return not gpc and state == "given"


def marketing_allowed(where, state, age, gpc):
    if where == "CN" or age is None or age < 18 or gpc:
        return False
    if where == "US-CA":
        return state not in ("refused", "withdrawn")
    return state == "given"


# ---------------------------------------------------------------- what is left of it, stream by stream


def phone_diagnostics(event, where, gpc, nano, r, a):
    if event == "phone.app.crashed":
        return {
            "time": instant(nano, "minute"),
            "app_package": a["app.package"] if a["foreground"] else None,
            "exception_type": a["exception.type"],
            "foreground": a["foreground"],
            "imei_hmac": pseudonym("diagnostics", "imei", a["device.imei"]),
            "app_version": r["service.version"],
            "model": r["device.model.name"],
        }
    if event == "phone.battery.sampled" and (a["battery.level"] < 20 or a["charging"]):
        return {
            "time": instant(nano, "hour"),
            "battery_level": floor_to(a["battery.level"], 10),
            "battery_temperature_c": floor_to(a["battery.temperature_c"], 0.5),
            "charging": a["charging"],
            "app_version": r["service.version"],
            "model": r["device.model.name"],
        }
    if event == "phone.network.changed" and not gpc:
        return {
            "time": instant(nano, "hour"),
            "network_type": a["network.type"],
            "client_address": network(a["client.address"]),
            "app_version": r["service.version"],
            "model": r["device.model.name"],
        }
    return None


def phone_analytics(event, where, gpc, nano, r, a):
    if where in ("EU", "US-CA"):
        row = {"time": instant(nano, "hour"), "model": r["device.model.name"]}
        if event == "phone.app.opened":
            row["app_package"] = a["app.package"]
            row["screen"] = a["screen"]
            if a["screen"] != "settings":
                row["duration_ms"] = floor_to(a["duration_ms"], 1000)
            row["account_email_hmac"] = pseudonym("analytics", "account_email", a["account.email"])
            row["birth_year"] = floor_to(a["user.birth_year"], 5)
        if event == "phone.app.crashed":
            row["app_package"] = a["app.package"]
            row["imei_hmac"] = pseudonym("analytics", "imei", a["device.imei"])
            row["exception_type"] = a["exception.type"]
        if event == "phone.battery.sampled":
            row["battery_level"] = floor_to(a["battery.level"], 25)
        if event == "phone.network.changed":
            row["network_type"] = a["network.type"]
            if where == "US-CA":
                row["lat"] = floor_to(a["location.lat"], 0.25)
                row["lon"] = floor_to(a["location.lon"], 0.25)
        return row
    if where == "CN" and event == "phone.app.opened":
        row = {"time": instant(nano, "day"), "screen": a["screen"], "model": r["device.model.name"]}
        if a["screen"] != "settings":
            row["duration_ms"] = floor_to(a["duration_ms"], 10000)
        return row
    return None


def phone_marketing(event, where, gpc, nano, r, a):
    if event != "phone.app.opened" or where == "unknown":
        return None
    return {
        "time": instant(nano, "day"),
        "app_package": a["app.package"],
        "account_email_hmac": pseudonym("marketing", "account_email", a["account.email"]),
        "birth_year": floor_to(a["user.birth_year"], 10),
        "model": r["device.model.name"],
    }


def appliance_diagnostics(event, where, gpc, nano, r, a):
    if event == "appliance.fault.raised":
        return {
            "time": instant(nano, "hour"),
            "fault_code": a["fault.code"],
            "mac_hmac": pseudonym("diagnostics", "mac", a["device.mac"]),
            "firmware": r["service.version"],
            "model": r["device.model.name"],
        }
    if event == "appliance.energy.metered" and not 228 <= a["voltage_v"] < 232:
        return {
            "time": instant(nano, "hour"),
            "voltage_v": floor_to(a["voltage_v"], 0.5),
            "power_w": floor_to(a["power_w"], 50.0),
            "firmware": r["service.version"],
            "model": r["device.model.name"],
        }
    return None


def appliance_analytics(event, where, gpc, nano, r, a):
    row = {"time": instant(nano, "day"), "model": r["device.model.name"], "region": r["region"]}
    if event == "appliance.cycle.finished":
        row["program"] = a["program"]
        row["duration_min"] = floor_to(a["duration_min"], 15)
        row["energy_kwh"] = floor_to(a["energy_kwh"], 0.25)
        row["water_l"] = floor_to(float(a["water_l"]), 10.0)
        return row
    if event == "appliance.energy.metered":
        row["power_w"] = floor_to(a["power_w"], 100.0)
        if a["household.size"] >= 5:
            del row["region"]
        else:
            row["household_size"] = floor_to(a["household.size"], 2, 1)
        return row
    return None


def appliance_marketing(event, where, gpc, nano, r, a):
    if event != "appliance.cycle.finished" or a["program"] not in ("eco40", "quick") or where == "unknown":
        return None
    return {"time": instant(nano, "day"), "program": a["program"], "model": r["device.model.name"]}


def car_diagnostics(event, where, gpc, nano, r, a):
    if event != "car.brake.hard":
        return None
    row = {
        "time": instant(nano, "minute"),
        "vin_hmac": pseudonym("diagnostics", "vin", a["vehicle.vin"]),
        "deceleration_ms2": floor_to(a["deceleration_ms2"], 0.5),
        "firmware": r["service.version"],
        "model": r["device.model.name"],
    }
    if where == "US-CA":
        row["lat"] = floor_to(a["location.lat"], 0.125)
        row["lon"] = floor_to(a["location.lon"], 0.125)
    return row


def car_analytics(event, where, gpc, nano, r, a):
    row = {
        "time": instant(nano, "hour"),
        "vin_hmac": pseudonym("analytics", "vin", a["vehicle.vin"]),
        "model": r["device.model.name"],
    }
    if event == "car.trip.sampled":
        if a["speed_kmh"] < 120:
            row["speed_kmh"] = floor_to(float(a["speed_kmh"]), 10.0)
        if where == "US-CA":
            row["lat"] = floor_to(a["location.lat"], 0.25)
            row["lon"] = floor_to(a["location.lon"], 0.25)
        return row
    if event == "car.trip.ended":
        row["distance_km"] = floor_to(a["distance_km"], 5.0)
        row["duration_min"] = floor_to(a["duration_min"], 10)
        row["passengers"] = a["passengers"]
        return row
    return None


def car_marketing(event, where, gpc, nano, r, a):
    if event != "car.trip.ended" or a["passengers"] < 2 or gpc or where == "unknown":
        return None
    return {
        "time": instant(nano, "day"),
        "distance_km": floor_to(a["distance_km"], 10.0),
        "model": r["device.model.name"],
    }


ALLOWED = {"diagnostics": diagnostics_allowed, "analytics": analytics_allowed, "marketing": marketing_allowed}
STREAMS = {
    "phone": ("phone.app", {"diagnostics": phone_diagnostics, "analytics": phone_analytics, "marketing": phone_marketing}),
    "appliance": ("appliance.cycle", {"diagnostics": appliance_diagnostics, "analytics": appliance_analytics,
                                      "marketing": appliance_marketing}),
    "car": ("car.drive", {"diagnostics": car_diagnostics, "analytics": car_analytics, "marketing": car_marketing}),
}


def main():
    said = {s["subject"]: s for s in map(json.loads, (HERE / "consent.jsonl").read_text().splitlines())}
    for line in (HERE / "events.jsonl").read_text().splitlines():
        e = json.loads(line)
        stream, tables = STREAMS[e["event"].split(".")[0]]
        device = e["resource"]["device.id"]
        statement = said.get(device, {"purposes": {}})
        where = JURISDICTION.get(e["resource"]["region"], "unknown")
        gpc = e["resource"]["gpc"]
        for purpose, left in tables.items():
            row = left(e["event"], where, gpc, e["time_unix_nano"], e["resource"], e["attributes"])
            state = statement["purposes"].get(purpose, "unknown")
            if row is None or not ALLOWED[purpose](where, state, statement.get("age_from"), gpc):
                continue
            row = {k: v for k, v in row.items() if v is not None}
            head = {"purpose": purpose, "stream": stream, "event": e["event"], "subject": table_subject(device, purpose)}
            print(json.dumps(head | row, ensure_ascii=False))


main()
