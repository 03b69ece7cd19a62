#!/usr/bin/env python3
"""What it costs to check and to erase: an access answer over many files, an independent audit, an erasure, and how each grows.

Everything is measured on the binary from outside, as ratios to a floor of the same run where there is one:

- answers: `GET /v1/subject` at a running service whose table has so many live files, each of 10,000 subjects: of a subject that is in
  every file, of one that is in one of 100, of one that is in none. The floor opens each file's tree and reads 16 KiB of it.
- audits: `candor audit verify --all`, which recomputes every file from its rows. The floor decodes every column, and no more.
- erasures: so many subjects in one pass, against erasing one subject that is in every file (it writes each touched file anew once) and
  against a plain program that reads and writes the same files once, with the same encodings and codec.

    python3 tests/bench/audit.py                  everything: half an hour, 8 GiB of disk while it runs
    python3 tests/bench/audit.py answers
    python3 tests/bench/audit.py tables           audits and erasures, of the same tables
    python3 tests/bench/audit.py --smoke          small sizes: a minute, to see that it works
"""
import argparse, base64, json, os, shutil, subprocess, sys, time

from measure import (CORES, DEVICE, RECORDS, Folder, Machine, Service, Tools, add_common, check_stored, device, make_fleet, median, note,
                     reap, send, table)

ANSWER_MS, PROOF_BYTES, ROWS_A_SECOND, ERASE_RATIO, FLAT = 300, 1024, 1_000_000, 3.0, 1.10
# What is read of each file at the least: a header and its nodes, a window of leaves.
LOOK = 16 << 10
# Requests of the load differ in their texts until so many: whoever starts there has every device once.
TEMPLATES = 64
RARE = 100
SMOKE = {"files": [4, 40], "subjects_a_file": 2_000, "turns": 3, "rows": [20_000, 200_000], "subjects": 2_000, "erased": 20}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="all", choices=["all", "answers", "tables"])
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1_000], help="live files, growing")
    parser.add_argument("--subjects-a-file", type=int, default=10_000, help="a multiple of 500, at most 32,000")
    parser.add_argument("--turns", type=int, default=11, help="answers of each kind")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--subjects", type=int, default=100_000, help="of the tables that are audited")
    parser.add_argument("--erased", type=int, default=1_000, help="subjects that are erased in one pass")
    parser.add_argument("--smoke", action="store_true")
    add_common(parser)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    tools, machine = Tools(options), Machine()
    tools.tables = tools.load.with_name("tables")
    found = {}
    if options.what in ("all", "answers"):
        found["answers"] = answers(tools, options)
    if options.what in ("all", "tables"):
        with Folder() as kept:
            several = [tables(tools, options, rows, kept) for rows in options.rows]
        found["audits"], found["erasures"] = ([one[key] for one in several] for key in ("audit", "erasure"))
    if options.json:
        print(json.dumps(dict(found, machine=machine.says()), indent=1))
        return
    for name, rows in found.items():
        PRINT[name](rows)
    print(f"- {machine.says()}")


def goal(what, most, value, form="{:.0f}"):
    print(f"- {what}: {form.format(value)}, {'PASS' if value <= most else 'over'}")


# ------------------------------------------------------------------------------------------------ access answers


def answers(tools, options):
    """One service, whose table grows from one number of files to the next."""
    rows, made = [], 0
    with Folder() as folder:
        fleet = make_fleet(folder, subjects=options.subjects_a_file + 2)
        with Service(tools.service, folder, fleet, store_compact_hours=0) as service:
            for files in options.files:
                while made < files:
                    one_file(tools, options, service, made)
                    made += 1
                there = list((folder / "data/tables").rglob("*.parquet"))
                live = [path for path in there if "_delta_log" not in path.parts]
                if len(live) != files:
                    sys.exit(f"{len(live)} files were made, and not {files}")
                found = by_kind(options, service, folder / "data", files)
                note("{} files: {}".format(files, ", ".join(f"{one['kind']} {one['ms']:.0f} ms" for one in found)))
                rows.extend(found)
            service.stop()
    return rows


def one_file(tools, options, service, number):
    """Every subject has one row in it; every hundredth has a row of a subject that is rare."""
    send(tools, service, options.subjects_a_file, options.subjects_a_file, connections=2, first=number * TEMPLATES * RECORDS)
    if number % RARE == 0:
        value = lambda kind, what: {f"{kind}Value": what}
        attribute = lambda key, what: {"key": key, "value": value("string", what)}
        record = {"timeUnixNano": str(1_793_491_200_000_000_000 + number), "eventName": "bench.sample",
                  "attributes": [attribute("device.id", device(options.subjects_a_file)), attribute("app.screen", "home")]}
        body = {"resourceLogs": [{"resource": {"attributes": [attribute("region", "DE")]}, "scopeLogs": [{"logRecords": [record]}]}]}
        connection = service.connection()
        connection.request("POST", "/v1/logs", json.dumps(body), {"Authorization": f"Bearer {DEVICE}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200 or b"rejected" in answer.read():
            service.fail(f"did not take the row of a rare subject: {answer.status}")
    service.flush()


def by_kind(options, service, data, files):
    """Kinds take turns."""
    kinds = {"in every file": (device(1), files), "in one of 100": (device(options.subjects_a_file), -(-files // RARE)),
             "in none": (device(options.subjects_a_file + 1), 0)}
    turns = {kind: [] for kind in kinds}
    floors = []
    for _ in range(options.turns):
        for kind, (subject, rows) in kinds.items():
            turns[kind].append(ask(service, subject, rows, files))
        floors.append(look(data))
    row = lambda kind, several: {key: median(one[key] for one in several) for key in several[0]} | {
        "kind": kind, "files": files, "worst": max(one["ms"] for one in several), "most": max(one["most"] for one in several),
        "floor": median(floors), "ratio": median(one["ms"] / floor for one, floor in zip(several, floors))}
    return [row(kind, several) for kind, several in turns.items()]


def ask(service, subject, rows, files):
    connection, cpu, start = service.connection(), service.cpu(), time.monotonic()
    body = service.call("GET", "/v1/subject", connection=connection, subject=subject)
    seconds, cpu = time.monotonic() - start, service.cpu() - cpu
    answer = json.loads(body)
    if (len(answer["rows"]), len(answer["files"])) != (rows, files):
        sys.exit(f"{len(answer['rows'])} rows and {len(answer['files'])} proofs, and not {rows} and {files}")
    proofs = [len(base64.urlsafe_b64decode(file["proof"] + "==")) for file in answer["files"]]
    return {"ms": seconds * 1e3, "cpu": cpu * 1e3, "mean": sum(proofs) / files, "most": max(proofs), "kib": len(body) / 1024}


def look(data):
    """Milliseconds to open what lies beside each file and read a piece of it."""
    paths = list((data / "leaves").rglob("*.leaves"))
    start = time.monotonic()
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.pread(file, LOOK, 0)
        os.close(file)
    return (time.monotonic() - start) * 1e3


def print_answers(rows):
    print("\n**Access answers** (`GET /v1/subject`, with a proof for each live file; service and client on a core each)\n")
    table([("live files", "{files}"), ("the subject is", "{kind}"), ("ms, median", "{ms:.0f}"), ("worst", "{worst:.0f}"), ("CPU ms", "{cpu:.0f}"),
           ("floor ms", "{floor:.1f}"), ("÷ floor", "{ratio:.1f}"), ("proof bytes a file, mean / max", "{mean:.0f} / {most}"), ("answer KiB", "{kib:.0f}")], rows)
    print()
    for row in (row for row in rows if row["files"] == rows[-1]["files"]):
        goal(f"ms over {row['files']} files, {row['kind']}, under {ANSWER_MS}", ANSWER_MS, row["ms"])
    goal(f"bytes of a proof, at most {PROOF_BYTES}", PROOF_BYTES, max(row["most"] for row in rows))
    first, last = rows[0]["files"], rows[-1]["files"]
    for few, many in zip((row for row in rows if row["files"] == first), (row for row in rows if row["files"] == last)):
        print(f"- {last / first:g} times the files, {few['kind']}: {many['ms'] / few['ms']:.1f} times the ms")


# ------------------------------------------------------------------------------------------------ audits and erasures


def tables(tools, options, rows, kept):
    """A folder with so many rows: it is audited, one subject of every file is erased in a copy, and many in the folder."""
    with Folder() as folder:
        fleet = make_fleet(folder, subjects=options.subjects)
        with Service(tools.service, folder, fleet, store_compact_hours=0) as service:
            rows = send(tools, service, rows, options.subjects)["events"]
            service.stop()
        check_stored(tools.service, folder / "data", rows)
        note(f"{rows} rows are there")
        audit = audited(tools, folder / "data", rows, kept)
        plain = floor(tools, "rewrite", folder / "data")
        note(f"a plain rewrite: {plain['cpu']:.2f} CPU s, {plain['seconds']:.2f} s")
        copy = folder / "copy"
        copy.mkdir()
        shutil.copytree(folder / "data", copy / "data")
        # The subject of the last row is in the last file, and in the others because each has more rows than there are subjects.
        one = erased(tools, copy, fleet, [(rows - 1) % options.subjects])
        shutil.rmtree(copy)
        step = max(1, options.subjects // options.erased)
        many = erased(tools, folder, fleet, [n * step for n in range(options.erased)])
        # Nothing was lost, and the log says so.
        audited(tools, folder / "data", rows - many["rows"], kept)
    return {"audit": audit, "erasure": {
        "all": rows, "subjects": options.erased, "gone": many["rows"], "files": many["files"], "one_files": one["files"],
        "requests": many["requests"], "requests_cpu": many["requests_cpu"], "cpu": many["cpu"], "seconds": many["seconds"], "peak": many["peak"],
        "one_cpu": one["cpu"], "one_seconds": one["seconds"], "plain_cpu": plain["cpu"], "plain_seconds": plain["seconds"],
        "ratio": many["cpu"] / one["cpu"], "plain_ratio": many["cpu"] / plain["cpu"], "plain_wall": many["seconds"] / plain["seconds"]}}


def audited(tools, data, rows, kept):
    """Every file recomputed, by as many threads as there are cores; the end if anything is wrong."""
    environment = dict(os.environ, HOME=str(kept), XDG_STATE_HOME=str(kept))
    # What an earlier folder left is another log.
    shutil.rmtree(kept / "candor", ignore_errors=True)
    used, start = run([tools.service, "audit", "verify", "--all", "--data", data, "--json"], env=environment, cores=CORES)
    least = floor(tools, "read", data)
    if least["rows"] != rows:
        sys.exit(f"{least['rows']} rows are in the files, and not {rows}")
    cpu, seconds = used.ru_utime + used.ru_stime, start
    row = {"rows": rows, "files": least["files"], "cpu": cpu, "seconds": seconds, "a_core": rows / cpu, "wall": rows / seconds,
           "peak": used.ru_maxrss / 1024, "floor": rows / least["cpu"], "ratio": cpu / least["cpu"]}
    note("audit of {rows} rows: {a_core:.0f} rows a CPU second, {wall:.0f} a second, {peak:.0f} MiB".format(**row))
    return row


def erased(tools, folder, fleet, subjects):
    """Erases these in one pass. The requests are timed apart: each is durable before its answer."""
    with Service(tools.service, folder, fleet, store_compact_hours=0, store_erasure_every_minutes=100_000) as service:
        connection, cpu, start = service.connection(), service.cpu(), time.monotonic()
        for subject in subjects:
            service.call("POST", "/v1/subject/erasure", '{"scope":"all"}', connection, device(subject))
        requests, requests_cpu = time.monotonic() - start, service.cpu() - cpu
        cpu, start = service.cpu(), time.monotonic()
        done = json.loads(service.call("POST", "/v1/erasures"))
        row = {"seconds": time.monotonic() - start, "cpu": service.cpu() - cpu, "requests": requests, "requests_cpu": requests_cpu,
               "files": done["files"], "rows": done["rows"], "peak": service.memory()[1]}
        if done["erasures"] != len(subjects):
            sys.exit(f"{done['erasures']} erasures were done, and not {len(subjects)}")
        service.stop()
    note("{count} subjects, {rows} rows of {files} files: {cpu:.2f} CPU s, {seconds:.2f} s".format(count=len(subjects), **row))
    return row


def floor(tools, what, data):
    """CPU and wall of reading, or of reading and writing, the files of all tables."""
    with Folder() as out:
        used, seconds, answer = run([tools.tables, what, data / "tables", *([out] if what == "rewrite" else [])], cores=CORES[:1], answer=True)
        return dict(json.loads(answer), cpu=used.ru_utime + used.ru_stime, seconds=seconds)


def run(command, cores, env=None, answer=False):
    """What a process took and how long, and what it printed."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    printed = process.stdout.read()
    used = reap(process)
    seconds = time.monotonic() - start
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}: {printed[-3000:].decode()}")
    return (used, seconds, printed) if answer else (used, seconds)


def print_audits(rows):
    print("\n**Audits** (`candor audit verify --all`, a thread a core)\n")
    table([("rows", "{rows}"), ("files", "{files}"), ("CPU s", "{cpu:.2f}"), ("s", "{seconds:.2f}"), ("rows/s a core", "{a_core:.0f}"), ("rows/s", "{wall:.0f}"),
           ("floor, rows/s a core", "{floor:.0f}"), ("÷ floor", "{ratio:.2f}"), ("peak MiB", "{peak:.0f}")], rows)
    print()
    least = min(row["a_core"] for row in rows)
    print(f"- rows a second and core, over {ROWS_A_SECOND}: {least:.0f}, {'PASS' if least > ROWS_A_SECOND else 'over'}")
    growth = rows[-1]["cpu"] / rows[-1]["rows"] / (rows[0]["cpu"] / rows[0]["rows"])
    goal(f"{rows[-1]['rows'] / rows[0]['rows']:g} times the rows, CPU a row, at most {FLAT:.2f} times", FLAT, growth, "{:.2f}")


def print_erasures(rows):
    print("\n**Erasures** (all in one pass; what the service takes for it, on one core)\n")
    table([("rows", "{all}"), ("subjects", "{subjects}"), ("rows gone", "{gone}"), ("files touched", "{files}"), ("CPU s", "{cpu:.2f}"), ("s", "{seconds:.2f}"),
           ("one subject of as many files, CPU s / s", "{one_cpu:.2f} / {one_seconds:.2f}"), ("plain rewrite, CPU s / s", "{plain_cpu:.2f} / {plain_seconds:.2f}"),
           ("÷ one", "{ratio:.2f}"), ("÷ plain, CPU / wall", "{plain_ratio:.2f} / {plain_wall:.2f}"), ("requests, CPU s / s", "{requests_cpu:.2f} / {requests:.2f}"),
           ("peak MiB", "{peak:.0f}")], rows)
    print()
    for name, key in [("one subject that is in every file", "ratio"), ("plain rewrite of the same files", "plain_ratio")]:
        goal(f"CPU against {name}, at most {ERASE_RATIO:g} times", ERASE_RATIO, max(row[key] for row in rows), "{:.2f}")
    growth = rows[-1]["cpu"] / rows[-1]["all"] / (rows[0]["cpu"] / rows[0]["all"])
    goal(f"{rows[-1]['all'] / rows[0]['all']:g} times the rows, CPU a row, at most {FLAT:.2f} times", FLAT, growth, "{:.2f}")


PRINT = {"answers": print_answers, "audits": print_audits, "erasures": print_erasures}

if __name__ == "__main__":
    main()
