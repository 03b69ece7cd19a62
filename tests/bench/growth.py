#!/usr/bin/env python3
"""The tables of growth: what an event costs as a run, a policy and a fleet grow, and how long a restart takes.

CPU seconds per million events of the service, what it flushes included. A machine is not equally fast all the time, so a floor runs
on the same core after each row: `ratio` is cost over floor, against the same of the first row, and should stay under 1.10.

    python3 tests/bench/growth.py              everything: an hour, 8 GiB of disk while it runs
    python3 tests/bench/growth.py events       1 to 20 million events in one run, and a restart with what they left
    python3 tests/bench/growth.py rules        10 to 1,000 rules: in one stream, and in one stream of many
    python3 tests/bench/growth.py subjects     1 thousand to 2 million subjects with consent: import, memory, events, restart
    python3 tests/bench/growth.py restart      after a crash that left 1 GiB of segments, on top of what `events` left
    python3 tests/bench/growth.py --smoke      small sizes: a minute, to see that it works
"""
import argparse, concurrent.futures, contextlib, json, os, re, time

from measure import (RECORDS, Folder, Machine, Service, Tools, add_common, check_stored, floor, make_fleet, median, note, parquet_bytes,
                     send, statement, table)

FLAT = 1.10
SECONDS = 10
SMOKE = {"slices": 3, "slice_events": 20_000, "rules": [10, 100], "rule_events": 20_000, "rounds": 1, "subjects": [1_000, 4_000],
         "subject_events": 20_000, "subject_turns": 2, "segment_mib": 64, "floor_events": 20_000}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="all", choices=["all", "events", "rules", "subjects", "restart"])
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--slice-events", type=int, default=1_000_000)
    parser.add_argument("--rules", type=int, nargs="+", default=[10, 100, 1_000], help="multiples of 10")
    parser.add_argument("--rule-events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3, help="of the table of rules")
    parser.add_argument("--subjects", type=int, nargs="+", default=[1_000, 100_000, 2_000_000])
    parser.add_argument("--subject-events", type=int, default=1_000_000)
    parser.add_argument("--subject-turns", type=int, default=5, help="of the fleets of every size")
    parser.add_argument("--segment-mib", type=int, default=1_024)
    parser.add_argument("--floor-events", type=int, default=300_000)
    parser.add_argument("--smoke", action="store_true")
    add_common(parser)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    tools, machine = Tools(options), Machine()
    found = {}
    for name, rows in measured(tools, options):
        found[name] = rows
        if not options.json:
            PRINT[name](rows)
    if options.json:
        print(json.dumps(dict(found, machine=machine.says()), indent=1))
    else:
        print(f"- {machine.says()}")


def measured(tools, options):
    """(table, rows), each as soon as it is there: all of it takes an hour."""
    if options.what in ("all", "events", "restart"):
        with Folder() as folder:
            yield from one_run(tools, options, folder)
    if options.what in ("all", "rules"):
        yield "rules", rules(tools, options)
    if options.what in ("all", "subjects"):
        yield "subjects", subjects(tools, options)


# ------------------------------------------------------------------------------------------------ one long run


def one_run(tools, options, folder):
    fleet, restarts = make_fleet(folder, subjects=1_000), []
    sent = options.slices * options.slice_events
    if options.what == "restart":
        with Service(tools.service, folder, fleet) as service:
            sent = send(tools, service, sent, 1_000)["events"]
            service.stop()
    else:
        rows, sent = slices(tools, options, folder, fleet)
        yield "events", rows
    check_stored(tools.service, folder / "data", sent)
    restarts.extend(restart(tools, folder, fleet, f"{sent / 1e6:g} M rows stored", cold) for cold in (True, False))
    if options.what != "events":
        restarts.extend(crash(tools, options, folder, fleet, sent))
    yield "restart", restarts


def slices(tools, options, folder, fleet):
    """One service, the same load again and again; each slice ends with a flush, so that it pays for its own files."""
    rows, sent = [], 0
    with Service(tools.service, folder, fleet) as service:
        for _ in range(options.slices):
            before = service.cpu()
            told = send(tools, service, options.slice_events, 1_000, connections=options.connections, first=sent)
            service.flush()
            cpu = (service.cpu() - before) / told["events"] * 1e6
            sent += told["events"]
            memory, peak = service.memory()
            files = sum(1 for _ in (folder / "data/tables").rglob("*.parquet"))
            rows.append({"events": sent, "cpu": cpu, "floor": floor(tools, options.floor_events, 1_000), "memory": memory, "peak": peak,
                         "p99": told["ack_ms_p99"], "rate": told["events_per_second"], "files": files,
                         "bytes": parquet_bytes(folder / "data") / sent})
            against_first(rows)
            note("{events} events: {cpu:.2f} s/M, floor {floor:.2f}, ratio {ratio:.3f}, {memory:.0f} MiB".format(**rows[-1]))
        service.stop()
    return rows, sent


def against_first(rows):
    for row in rows:
        row["raw"] = row["cpu"] / rows[0]["cpu"]
        row["ratio"] = row["cpu"] / row["floor"] / (rows[0]["cpu"] / rows[0]["floor"])


def print_events(rows):
    print("\n**Events in one run** (1,000 subjects, one purpose)\n")
    table([("events so far", "{events}"), ("CPU s/M", "{cpu:.2f}"), ("floor s/M", "{floor:.2f}"), ("against the first", "{raw:.2f}"), ("ratio", "{ratio:.2f}"),
           ("MiB now / peak", "{memory:.0f} / {peak:.0f}"), ("events/s", "{rate:.0f}"), ("ack p99 ms", "{p99:.1f}"), ("files", "{files}"), ("bytes/event", "{bytes:.1f}")], rows)
    print()
    flat("cost per event", rows)
    if len(rows) >= 10:
        # One row may have met a noisy moment: what grows shows in the halves.
        half = len(rows) // 2
        early, late = (median(row["cpu"] / row["floor"] for row in part) for part in (rows[:half], rows[half:]))
        print(f"- cost over floor, median of the second half against the first: {late / early:.3f}")


def flat(what, rows, key="ratio"):
    most = max(row[key] for row in rows)
    print(f"- {what}, at most {FLAT:.2f} of the first row: {most:.2f}, {'PASS' if most <= FLAT else 'over'}")


# ------------------------------------------------------------------------------------------------ restart


def restart(tools, folder, fleet, what, cold):
    """Spawn to the answer at /readyz; the service is then stopped."""
    if cold:
        forget_pages(folder / "data")
    with Service(tools.service, folder, fleet) as service:
        row = {"what": what, "cold": cold, "seconds": service.ready_seconds, "cpu": service.ready_cpu, "peak": service.memory()[1], "segments": 0}
        service.stop()
    note("{what}: ready after {seconds:.2f} s".format(**row))
    return row


def crash(tools, options, folder, fleet, rows_before):
    """What an operator may meet: the tables cannot be written (here a file stands where their folder was, as when a mount is missing),
    requests are taken all the same, segments pile up; then the process is killed, and what was wrong is mended."""
    data, sent = folder / "data", 0
    tables, away = data / "tables", data / "tables-away"
    with Service(tools.service, folder, fleet) as service:
        tables.rename(away)
        tables.write_bytes(b"")
        chunk = max(RECORDS, min(options.slice_events, 250_000))
        while segment_bytes(data) < options.segment_mib << 20:
            sent += send(tools, service, chunk, 1_000, first=rows_before + sent)["events"]
        note(f"{sent} events in {segment_bytes(data) >> 20} MiB of segments, {service.memory()[1]:.0f} MiB at most")
        service.kill()
    tables.unlink()
    away.rename(tables)
    rows = []
    for cold in (True, False):
        if cold:
            forget_pages(data)
        segments, size = len(list((data / "wal").glob("*.segment"))), segment_bytes(data)
        with Service(tools.service, folder, fleet) as service:
            what = f"{size / 2**30:.2f} GiB of segments and {rows_before / 1e6:g} M rows stored"
            rows.append({"what": what, "cold": cold, "seconds": service.ready_seconds, "cpu": service.ready_cpu, "peak": service.memory()[1], "segments": segments})
            note("{what}: ready after {seconds:.2f} s".format(**rows[-1]))
            if cold:
                # It begins to seal at once: the second start still finds almost all of them.
                service.kill()
            else:
                start, cpu = time.monotonic(), service.cpu()
                service.flush()
                note(f"all of it sealed after {time.monotonic() - start:.1f} s more, {(service.cpu() - cpu) / sent * 1e6:.2f} CPU s/M, {service.memory()[1]:.0f} MiB at most")
                service.stop()
    check_stored(tools.service, data, rows_before + sent)
    return rows


def segment_bytes(data):
    """The newest is left out: its file has its full size from the start."""
    return sum(file.stat().st_size for file in sorted((data / "wal").glob("*.segment"))[:-1])


def forget_pages(folder):
    """Takes the files out of the page cache, as after a boot."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def print_restart(rows):
    print("\n**Restart**: from spawn to the answer at /readyz\n")
    table([("what is there", "{what}"), ("page cache", "{cache}"), ("segments", "{segments}"), ("seconds", "{seconds:.2f}"), ("CPU s", "{cpu:.2f}"), ("peak MiB", "{peak:.0f}")],
          [dict(row, cache="cold" if row["cold"] else "warm") for row in rows])
    most = max(row["seconds"] for row in rows)
    print(f"\n- seconds, under {SECONDS}: {most:.2f}, {'PASS' if most < SECONDS else 'over'}")


# ------------------------------------------------------------------------------------------------ rules

SCREENS = ["home", "list", "detail", "settings", "search"]
# Above every duration that the job has.
DURATIONS = 90_000
SHAPES = {"one stream": lambda rules: (rules, 1), "many streams": lambda rules: (10, rules // 10)}


def rules(tools, options):
    runs = {}
    for number in range(options.rounds):
        for shape in SHAPES:
            for count in options.rules:
                runs.setdefault((shape, count), []).append(run_rules(tools, options, shape, count))
                note("{0}, {1} rules, round {2}: {cpu:.2f} s/M, floor {floor:.2f}".format(shape, count, number + 1, **runs[shape, count][-1]))
    rows = []
    for (shape, count), several in runs.items():
        first = runs[shape, options.rules[0]]
        ratios = [run["cpu"] / run["floor"] / (one["cpu"] / one["floor"]) for run, one in zip(several, first)]
        row = {key: median(run[key] for run in several) for key in several[0]}
        rows.append(dict(row, shape=shape, rules=count, raw=median(run["cpu"] / one["cpu"] for run, one in zip(several, first)),
                         ratio=median(ratios), low=min(ratios), high=max(ratios)))
    return rows


def run_rules(tools, options, shape, count):
    with Folder() as folder:
        fleet = make_fleet(folder, subjects=1_000)
        write_rules(fleet, *SHAPES[shape](count))
        with Service(tools.service, folder, fleet) as service:
            before = service.cpu()
            told = send(tools, service, options.rule_events, 1_000, connections=options.connections)
            service.flush()
            cpu = (service.cpu() - before) / told["events"] * 1e6
            row = {"cpu": cpu, "ready": service.ready_seconds, "peak": service.memory()[1]}
            service.stop()
        check_stored(tools.service, folder / "data", told["events"])
        row["bytes"] = parquet_bytes(folder / "data") / told["events"]
    return dict(row, floor=floor(tools, options.floor_events, 1_000))


def write_rules(fleet, rules_a_stream, streams):
    """Rules that tell screens and durations apart and then do the same: what is stored is that of the one rule of the job."""
    catalogue, policy = (fleet / "catalogue.toml").read_text(), (fleet / "policy.toml").read_text()
    field = '[stream.bench.field.screen]\ntype = "string"\n'
    assert field in catalogue
    catalogue = catalogue.replace(field, f"{field}values = {json.dumps(SCREENS)}\n")
    head, _, stream = catalogue.partition("[stream.bench]")
    named = lambda n: "bench" if n == 1 else f"bench{n}"
    one = "[stream.bench]" + stream
    others = (one.replace("[stream.bench", f"[stream.{named(n)}").replace('"bench.sample"', f'"bench.sample{n}"') for n in range(1, streams + 1))
    (fleet / "catalogue.toml").write_text(head + (one if streams == 1 else one + "\n".join(list(others)[1:])))
    start, _, rule = policy.partition("[[rule]]")
    emits = "\n".join(re.findall(r"^emit\..*$", rule, re.M))
    width = DURATIONS / (rules_a_stream // len(SCREENS))
    written = []
    for n in range(1, streams + 1):
        for k in range(rules_a_stream):
            screen, interval = SCREENS[k % len(SCREENS)], k // len(SCREENS)
            when = f"screen == '{screen}' and {round(interval * width)} <= duration_ms < {round((interval + 1) * width)}"
            written.append(f'[[rule]]\nid = "r{n}-{k}"\nstream = "{named(n)}"\npurpose = "diagnostics"\nwhen = "{when}"\n{emits}\n')
    (fleet / "policy.toml").write_text(start + "\n".join(written))


def print_rules(rows):
    print("\n**Rules** (1,000 subjects, one purpose; every event meets one rule of its stream, and the same is stored)\n")
    table([("shape", "{shape}"), ("rules", "{rules}"), ("CPU s/M", "{cpu:.2f}"), ("floor s/M", "{floor:.2f}"), ("against the first", "{raw:.2f}"),
           ("ratio (min–max)", "{ratio:.2f} ({low:.2f}–{high:.2f})"), ("ready after s", "{ready:.2f}"), ("peak MiB", "{peak:.0f}"), ("bytes/event", "{bytes:.1f}")], rows)
    print()
    for shape in SHAPES:
        flat(f"cost per event, {shape}", [row for row in rows if row["shape"] == shape])


# ------------------------------------------------------------------------------------------------ subjects

STATEMENTS = 1_000
SENDERS = 16


def subjects(tools, options):
    """Statements by POST /v1/consent, a restart, then events of the first 1,000 subjects and of all of them, the fleets of every size in turns."""
    with contextlib.ExitStack() as opened:
        fleets = [import_fleet(tools, opened, count) for count in options.subjects]
        for turn in range(options.subject_turns):
            # Which of them begins alternates: what comes later in a turn may find another machine.
            for fleet in fleets if turn % 2 == 0 else reversed(fleets):
                send_turn(tools, options, fleet)
        return [totals_of(tools, fleet, fleets[0]) for fleet in fleets]


def import_fleet(tools, opened, count):
    """A service that was started again with what it was told."""
    folder = opened.enter_context(Folder())
    fleet = make_fleet(folder)
    with Service(tools.service, folder, fleet) as service:
        empty = service.memory()[0]
        row = import_consent(service, count)
        service.flush()
        row.update(subjects=count, flush_seconds=time.monotonic() - row.pop("end"), statement_us=(service.cpu() - service.ready_cpu) / count * 1e6)
        assert service.metric("candor_store_subjects") == count
        row.update(memory=service.memory()[0], peak=service.memory()[1], bytes_a_subject=(service.memory()[0] - empty) * 2**20 / count)
        service.stop()
    forget_pages(folder / "data")
    row["ledger"] = (folder / "data/ledger.db").stat().st_size / count
    service = opened.enter_context(Service(tools.service, folder, fleet))
    row.update(restart=service.ready_seconds, restart_cpu=service.ready_cpu, restart_memory=service.memory()[0], restart_peak=service.memory()[1])
    note("{subjects} subjects: imported in {import_seconds:.1f} s, {statement_us:.0f} CPU µs each, {memory:.0f} MiB, at most {peak:.0f}; "
         "restart {restart:.1f} s, {restart_cpu:.1f} of CPU".format(**row))
    return {"row": row, "folder": folder, "service": service, "sent": 0, "turns": []}


def send_turn(tools, options, fleet):
    """CPU seconds per million events, each beside its floor of the same minute."""
    service, count, turn = fleet["service"], fleet["row"]["subjects"], {}
    for key, many in (("few", 1_000), ("all", count)):
        before = service.cpu()
        told = send(tools, service, options.subject_events, many, connections=options.connections, first=fleet["sent"])
        service.flush()
        turn[key] = (service.cpu() - before) / told["events"] * 1e6
        turn[f"{key}_p99"] = told["ack_ms_p99"]
        fleet["sent"] += told["events"]
        turn[f"{key}_floor"] = floor(tools, options.floor_events, many)
    turn["all_sealed"] = floor(tools, options.floor_events, count, seals=True)
    fleet["turns"].append(turn)
    note("{}: {few:.2f} s/M, floor {few_floor:.2f}; all of them {all:.2f}, floor {all_floor:.2f}, sealed {all_sealed:.2f}".format(count, **turn))


def totals_of(tools, fleet, first):
    """Medians of the turns; ratios are those of each turn with the same turn of the first fleet."""
    fleet["service"].stop()
    check_stored(tools.service, fleet["folder"] / "data", fleet["sent"])
    turns, pairs = fleet["turns"], list(zip(fleet["turns"], first["turns"]))
    row = dict(fleet["row"], statement_ratio=fleet["row"]["statement_us"] / first["row"]["statement_us"])
    row.update((key, median(turn[key] for turn in turns)) for key in turns[0])
    ratios = {"few_ratio": [own["few"] / one["few"] for own, one in pairs], "all_ratio": [own["all"] / one["all"] for own, one in pairs],
              "floor_ratio": [own["all_floor"] / one["all_floor"] for own, one in pairs],
              "sealed_ratio": [own["all_sealed"] / one["all_sealed"] for own, one in pairs]}
    row.update((key, median(values)) for key, values in ratios.items())
    row.update((f"{key}_range", f"{min(values):.2f}–{max(values):.2f}") for key, values in ratios.items())
    row["all_to_floor"] = row["all_ratio"] / row["floor_ratio"]
    row["all_to_sealed"] = row["all_ratio"] / row["sealed_ratio"]
    return row


def import_consent(service, count):
    """In arrays, over a few connections; how long it took, and the rate of the last tenth against the first."""
    ends = []

    def sender(number):
        connection = service.connection()
        for start in range(number * STATEMENTS, count, SENDERS * STATEMENTS):
            body = ",".join(statement(n, ["diagnostics"]) for n in range(start, min(start + STATEMENTS, count)))
            service.call("POST", "/v1/consent", f"[{body}]", connection)
            ends.append(time.monotonic() - begin)
        connection.close()

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(sender, range(SENDERS)))
    ends.sort()
    tenth = len(ends) // 10
    slows = (ends[-1] - ends[-tenth - 1]) / ends[tenth - 1] if tenth > SENDERS else 1.0
    return {"import_seconds": ends[-1], "slows": slows, "end": time.monotonic()}


def print_subjects(rows):
    print("\n**Subjects with consent** (one purpose; statements by POST /v1/consent in arrays of 1,000)\n")
    table([("subjects", "{subjects}"), ("import s", "{import_seconds:.1f}"), ("last tenth ÷ first", "{slows:.2f}"), ("CPU µs a statement", "{statement_us:.0f}"),
           ("MiB now / peak", "{memory:.0f} / {peak:.0f}"), ("bytes a subject in memory", "{bytes_a_subject:.0f}"), ("in the ledger", "{ledger:.0f}"),
           ("restart s", "{restart:.2f}"), ("its CPU s", "{restart_cpu:.2f}"), ("MiB then / peak", "{restart_memory:.0f} / {restart_peak:.0f}")], rows)
    print()
    table([("subjects", "{subjects}"), ("events of 1,000: CPU s/M", "{few:.2f}"), ("floor s/M", "{few_floor:.2f}"), ("ratio", "{few_ratio:.2f} ({few_ratio_range})"),
           ("ack p99 ms", "{few_p99:.1f}"), ("events of all: CPU s/M", "{all:.2f}"), ("ratio", "{all_ratio:.2f} ({all_ratio_range})"),
           ("floor of the same s/M", "{all_floor:.2f}"), ("its ratio", "{floor_ratio:.2f} ({floor_ratio_range})"),
           ("floor that seals s/M", "{all_sealed:.2f}"), ("its ratio", "{sealed_ratio:.2f} ({sealed_ratio_range})"), ("ack p99 ms", "{all_p99:.1f}")], rows)
    print()
    flat("cost per event of 1,000 subjects, others in the ledger", rows, "few_ratio")
    flat("cost per event of all subjects", rows, "all_ratio")
    flat("cost per event of all subjects, over a floor that does not seal", rows, "all_to_floor")
    flat("cost per event of all subjects, over the floor of the same job, which seals its files", rows, "all_to_sealed")


PRINT = {"events": print_events, "restart": print_restart, "rules": print_rules, "subjects": print_subjects}

if __name__ == "__main__":
    main()
