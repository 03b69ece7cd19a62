#!/usr/bin/env python3
"""What signing, numbering and receipts cost the service: the same job from the same devices, unsigned and signed in turns.

CPU seconds of the whole service from spawn to exit, per million events; the load and its signatures run on the other core. Bodies go
as they are, which is the dearest way for whoever must hash them; each device is one subject. Every receipt is checked.

    python3 tests/bench/signed.py
    python3 tests/bench/signed.py --events 100000 --turns 1      a minute, to see that it works
"""
import argparse, json, subprocess

from measure import DEVICE, Folder, Machine, Service, Tools, add_common, check_stored, make_fleet, median, note, reap, table

MOST = 1.05


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--records", type=int, nargs="+", default=[2000, 200])
    parser.add_argument("--devices", type=int, default=4)
    add_common(parser)
    options = parser.parse_args()
    tools, machine = Tools(options), Machine()
    tools.device = tools.load.with_name("device")
    rows = [measure(tools, options, records) for records in options.records]
    if options.json:
        print(json.dumps({"machine": machine.says(), "rows": rows}, indent=1))
        return
    table([("events a request", "{records}"), ("unsigned CPU s/M", "{plain:.2f}"), ("signed CPU s/M", "{signed:.2f}"),
           ("signed / unsigned, median (min-max)", "{ratio:.3f} ({low:.3f}-{high:.3f})"), ("receipts checked", "{receipts}")], rows)
    worst = next((row["ratio"] for row in rows if row["records"] == 2000), None)
    if worst:
        print(f"\n- at 2,000 events a request, at most {MOST}: {worst:.3f}, {'PASS' if worst <= MOST else 'over'}")
    print(f"- {machine.says()}")


def measure(tools, options, records):
    turns = []
    for number in range(options.turns):
        turn = {}
        # Which of them begins alternates.
        for signed in ([False, True] if number % 2 == 0 else [True, False]):
            turn[signed] = run(tools, options, records, signed)
        turns.append(turn)
        note(f"{records} events a request: unsigned {turn[False]['cpu']:.2f}, signed {turn[True]['cpu']:.2f} s/M")
    ratios = [turn[True]["cpu"] / turn[False]["cpu"] for turn in turns]
    return {"records": records, "plain": median(turn[False]["cpu"] for turn in turns), "signed": median(turn[True]["cpu"] for turn in turns),
            "ratio": median(ratios), "low": min(ratios), "high": max(ratios), "receipts": sum(turn[True]["receipts"] for turn in turns)}


def run(tools, options, records, signed):
    with Folder() as folder:
        fleet = make_fleet(folder, 1, options.devices)
        if signed:
            with open(fleet / "sources.toml", "a") as out:
                out.write('\n[source.agents]\ntoken_file = "tokens/agents.token"\nroles = ["device"]\nsigned = true\n')
            (fleet / "tokens/agents.token").write_text("bench-agents-token\n")
        with Service(tools.service, folder, fleet) as service:
            arguments = [service.address, "bench-agents-token" if signed else DEVICE, options.events, records, options.devices]
            arguments += ["bench", "diagnostics"] if signed else []
            process = subprocess.Popen([tools.device, *map(str, arguments)], stdout=subprocess.PIPE)
            answer = process.stdout.read()
            reap(process)
            if process.returncode != 0:
                service.fail("was not what the devices expect")
            told, usage = json.loads(answer), service.stop()
        check_stored(tools.service, folder / "data", told["events"])
        return {"cpu": (usage.ru_utime + usage.ru_stime) / told["events"] * 1e6, "receipts": told["receipts"]}


if __name__ == "__main__":
    main()
