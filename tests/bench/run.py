#!/usr/bin/env python3
"""The table of speed: the whole service on its job, beside the floor, as ratios.

Each turn runs every protocol and then the floors on the same core; the load runs on the other one. CPU seconds are those of the
whole process from spawn to exit after a graceful stop, children included, per million events. Acknowledgements are timed twice:
as fast as it goes, and at half the rate that was found so, where each request has its time and is late if the one before was.

    python3 tests/bench/run.py
    python3 tests/bench/run.py --events 100000 --turns 1 --subjects 1000 --purposes 1      a minute, to see that it works
    python3 tests/bench/run.py --against OTHER_BINARY                                      two builds in turns, as a ratio
"""
import argparse, json

from measure import Folder, Machine, Service, Tools, add_common, check_stored, floor, make_fleet, median, note, parquet_bytes, send, table

GOALS = [("protobuf: CPU s/M, at most", "cpu", 3.0, lambda row: row["protocol"] == "protobuf" and row["purposes"] == 1),
         ("JSON in protobufs, at most", "to_protobuf", 2.5, lambda row: row["protocol"] == "json" and row["to_protobuf"]),
         ("memory MiB, under", "memory", 128, lambda row: True),
         ("ack p99 ms at half load, under", "half_p99", 50, lambda row: row["half_p99"] is not None)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--turns", "--pairs", type=int, default=5)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1000, 1])
    parser.add_argument("--purposes", type=int, nargs="+", default=[1, 3], choices=[1, 3])
    parser.add_argument("--protocols", nargs="+", default=["protobuf", "json", "grpc"], choices=["protobuf", "json", "grpc"])
    parser.add_argument("--half-turns", type=int, default=3, help="runs at half load; 0 for none")
    parser.add_argument("--against", help="another build of the service: no floor then, but both in turns")
    add_common(parser)
    options = parser.parse_args()
    tools, machine = Tools(options), Machine()
    jobs = [(subjects, purposes) for subjects in options.subjects for purposes in options.purposes]
    if options.against:
        rows = [row for job in jobs for row in compare(tools, options, *job)]
    else:
        rows = [row for job in jobs for row in measure(tools, options, *job)]
    if options.json:
        print(json.dumps({"machine": machine.says(), "rows": rows}, indent=1))
    elif options.against:
        print_comparison(rows, machine)
    else:
        print_table(rows, machine)


def measure(tools, options, subjects, purposes):
    turns = []
    for number in range(options.turns):
        turn = {protocol: run(tools.service, tools, options, protocol, subjects, purposes) for protocol in options.protocols}
        turn["floor"] = floor(tools, options.events, subjects, purposes)
        turn["walk"] = floor(tools, options.events, subjects, purposes, "walk")
        turns.append(turn)
        costs = ", ".join(f"{protocol} {turn[protocol]['cpu']:.2f}" for protocol in options.protocols)
        note(f"{subjects} subjects, {purposes} purposes, turn {number + 1}: {costs}, floor {turn['floor']:.2f}, walk {turn['walk']:.2f} s/M")
    return [summary(tools, options, protocol, subjects, purposes, turns) for protocol in options.protocols]


def summary(tools, options, protocol, subjects, purposes, turns):
    runs = [turn[protocol] for turn in turns]
    to_floor = [turn[protocol]["cpu"] / turn["floor"] for turn in turns]
    to_protobuf = [turn[protocol]["cpu"] / turn["protobuf"]["cpu"] for turn in turns if "protobuf" in turn]
    row = {key: median(run[key] for run in runs) for key in runs[0]}
    row.update(protocol=protocol, subjects=subjects, purposes=purposes, rows=int(row["rows"]), memory=max(run["memory"] for run in runs),
               floor=median(turn["floor"] for turn in turns), walk=median(turn["walk"] for turn in turns),
               to_floor=median(to_floor), low=min(to_floor), high=max(to_floor),
               to_walk=median(turn[protocol]["cpu"] / turn["walk"] for turn in turns),
               to_protobuf=median(to_protobuf) if to_protobuf else None, half_rate=row["rate"] / 2, half_p50=None, half_p99=None)
    rate = int(row["rate"] / 2)
    # As long as it took at full load, but no more than ten seconds.
    events = min(options.events, rate * 10)
    halves = [run(tools.service, tools, options, protocol, subjects, purposes, events, rate) for _ in range(options.half_turns)]
    if halves:
        row.update(half_p50=median(half["p50"] for half in halves), half_p99=median(half["p99"] for half in halves),
                   half_worst_p99=max(half["p99"] for half in halves))
        note(f"{protocol} at {rate} events/s: p99 " + ", ".join(f"{half['p99']:.1f}" for half in halves) + " ms")
    return row


def run(binary, tools, options, protocol, subjects, purposes, events=None, rate=0):
    with Folder() as folder:
        fleet = make_fleet(folder, purposes, subjects)
        with Service(binary, folder, fleet) as service:
            told = send(tools, service, events or options.events, subjects, protocol, options.connections, rate)
            usage = service.stop()
        rows = check_stored(binary, folder / "data", told["events"] * purposes)
        return {"cpu": (usage.ru_utime + usage.ru_stime) / told["events"] * 1e6, "memory": usage.ru_maxrss / 1024,
                "p50": told["ack_ms_p50"], "p99": told["ack_ms_p99"], "rate": told["events_per_second"], "load_busy": told["busy"],
                "bytes": parquet_bytes(folder / "data") / told["events"], "rows": rows}


def print_table(rows, machine):
    shown = [dict(row, to_protobuf_text=f"{row['to_protobuf']:.2f}" if row["to_protobuf"] else "",
                  half_text=f"{row['half_p50']:.1f} / {row['half_p99']:.1f}" if row["half_p99"] else "") for row in rows]
    table([("protocol", "{protocol}"), ("subjects", "{subjects}"), ("purposes", "{purposes}"), ("CPU s/M", "{cpu:.2f}"), ("floor s/M", "{floor:.2f}"),
           ("÷ floor, median (min–max)", "{to_floor:.2f} ({low:.2f}–{high:.2f})"), ("÷ walking floor", "{to_walk:.2f}"), ("÷ protobuf", "{to_protobuf_text}"),
           ("peak MiB", "{memory:.0f}"), ("events/s", "{rate:.0f}"), ("ack p50 / p99 ms", "{p50:.1f} / {p99:.1f}"),
           ("at half load", "{half_text}"), ("bytes/event", "{bytes:.1f}"), ("rows", "{rows}")], shown)
    print()
    for name, key, most, concerns in GOALS:
        found = [row[key] for row in rows if concerns(row)]
        if found:
            print(f"- {name} {most}: {min(found):.2f}–{max(found):.2f}, {'PASS' if max(found) <= most else 'over'}")
    print(f"- load: at most {max(row['load_busy'] for row in rows):.0%} of its core; {machine.says()}")


def compare(tools, options, subjects, purposes):
    """Both builds in turns; which of them begins alternates."""
    turns = []
    for number in range(options.turns):
        turn = {}
        for protocol in options.protocols:
            for which in ([tools.service, options.against] if number % 2 == 0 else [options.against, tools.service]):
                turn[protocol, which == tools.service] = run(which, tools, options, protocol, subjects, purposes)
            note(f"{protocol}, {subjects} subjects, {purposes} purposes: {turn[protocol, True]['cpu']:.2f} against {turn[protocol, False]['cpu']:.2f} s/M")
        turns.append(turn)
    rows = []
    for protocol in options.protocols:
        ratio = lambda key: [turn[protocol, True][key] / turn[protocol, False][key] for turn in turns]
        middle = lambda ours, key: median(turn[protocol, ours][key] for turn in turns)
        rows.append({"protocol": protocol, "subjects": subjects, "purposes": purposes, "cpu": middle(True, "cpu"), "other_cpu": middle(False, "cpu"),
                     "ratio": median(ratio("cpu")), "low": min(ratio("cpu")), "high": max(ratio("cpu")),
                     "memory": middle(True, "memory"), "other_memory": middle(False, "memory"), "p99": median(ratio("p99")), "bytes": median(ratio("bytes"))})
    return rows


def print_comparison(rows, machine):
    table([("protocol", "{protocol}"), ("subjects", "{subjects}"), ("purposes", "{purposes}"), ("CPU s/M", "{cpu:.2f}"), ("of the other", "{other_cpu:.2f}"),
           ("ratio, median (min–max)", "{ratio:.3f} ({low:.3f}–{high:.3f})"), ("peak MiB, both", "{memory:.0f} / {other_memory:.0f}"),
           ("ack p99, ratio", "{p99:.2f}"), ("bytes/event, ratio", "{bytes:.3f}")], rows)
    print(f"\n- {machine.says()}")


if __name__ == "__main__":
    main()
