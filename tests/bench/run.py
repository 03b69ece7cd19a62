#!/usr/bin/env python3
"""Measures the whole service on the job of the speed table, beside the floor, and prints ratios.

Service and floor alternate on the same core; the load runs on the other one. CPU seconds are those of the whole process from
spawn to exit after a graceful stop, children included, per million events. Python's standard library only; Linux, two cores.

    python3 tests/bench/run.py [--events 1000000] [--pairs 5] [--subjects 1000 1] [--purposes 1 3] [--no-build] [--json]
"""
import argparse, json, os, pathlib, re, shutil, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORES = sorted(os.sched_getaffinity(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1000, 1])
    parser.add_argument("--purposes", type=int, nargs="+", default=[1], choices=[1, 3])
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=int, default=0, help="events a second; 0 = as fast as it goes")
    parser.add_argument("--no-build", action="store_true", help="measure the binaries that are there")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    target = build(options)
    rows = [job(target, options, subjects, purposes) for subjects in options.subjects for purposes in options.purposes]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("| subjects | purposes | service CPU s/M | floor CPU s/M | service/floor median (min–max) | memory MiB | ack p50 / p99 ms | events/s | bytes/event | rows |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print("| {subjects} | {purposes} | {service:.2f} | {floor:.2f} | {ratio:.2f} ({low:.2f}–{high:.2f}) | {memory:.0f} | {p50:.1f} / {p99:.1f} | {rate:.0f} | {bytes:.1f} | {rows} |".format(**r))


def build(options):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache/candor/target"))
    if options.no_build:
        return target
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    subprocess.run(["cargo", "build", "--release", "-p", "candor-cli"], cwd=ROOT, env=environment, check=True)
    subprocess.run(["cargo", "build", "--release"], cwd=HERE, env=dict(environment, CARGO_TARGET_DIR=str(target / "bench")), check=True)
    return target


def job(target, options, subjects, purposes):
    pairs = []
    for _ in range(options.pairs):
        service = run_service(target, options, subjects, purposes)
        floor = run_floor(target, options, subjects, purposes)
        pairs.append((service, floor))
        print(f"# service {service['cpu']:.2f} s/M, floor {floor:.2f} s/M", file=sys.stderr)
    ratios = [service["cpu"] / floor for service, floor in pairs]
    middle = lambda key: statistics.median(service[key] for service, _ in pairs)
    return {
        "subjects": subjects, "purposes": purposes, "service": middle("cpu"), "floor": statistics.median(f for _, f in pairs),
        "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "memory": middle("memory"),
        "p50": middle("p50"), "p99": middle("p99"), "rate": middle("rate"), "bytes": middle("bytes"), "rows": int(middle("rows")),
    }


def run_service(target, options, subjects, purposes):
    with tempfile.TemporaryDirectory(dir=os.environ.get("CANDOR_BENCH_FOLDER")) as folder:
        folder = pathlib.Path(folder)
        fleet = make_fleet(folder, subjects, purposes)
        errors = open(folder / "stderr", "w+")
        binary = target / "release" / "candor"
        process = subprocess.Popen(
            [binary, "serve", "--fleet", fleet, "--data", folder / "data", "--http", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, preexec_fn=lambda: os.sched_setaffinity(0, {CORES[0]}))
        address = ready(folder / "stderr", process)
        load = subprocess.run(
            [target / "bench/release/load", address, "bench-device-token", str(options.events), str(subjects), str(options.connections), str(options.rate)],
            stdout=subprocess.PIPE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {CORES[-1]}))
        process.terminate()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit("the service ended with %s: %s" % (process.returncode, (folder / "stderr").read_text()[-2000:]))
        acknowledged = json.loads(load.stdout)
        totals = json.loads(subprocess.run([binary, "audit", "totals", "--data", folder / "data", "--json"], stdout=subprocess.PIPE, check=True).stdout)
        stored = sum(row["stored"] for row in totals["rows"])
        if stored != acknowledged["events"] * purposes:
            sys.exit(f"{acknowledged['events']} events acknowledged for {purposes} purposes, but {stored} rows stored")
        size = sum(f.stat().st_size for f in (folder / "data/tables").rglob("*.parquet"))
        return {"cpu": (usage.ru_utime + usage.ru_stime) / acknowledged["events"] * 1e6, "memory": usage.ru_maxrss / 1024,
                "p50": acknowledged["ack_ms_p50"], "p99": acknowledged["ack_ms_p99"], "rate": acknowledged["events_per_second"],
                "bytes": size / acknowledged["events"], "rows": stored}


def run_floor(target, options, subjects, purposes):
    with tempfile.TemporaryDirectory(dir=os.environ.get("CANDOR_BENCH_FOLDER")) as folder:
        process = subprocess.Popen([target / "bench/release/floor", folder, str(options.events), str(subjects), str(purposes)],
                                   preexec_fn=lambda: os.sched_setaffinity(0, {CORES[0]}))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return (usage.ru_utime + usage.ru_stime) / options.events * 1e6


def make_fleet(folder, subjects, purposes):
    fleet = folder / "fleet"
    shutil.copytree(HERE / "fleet", fleet)
    (fleet / f"policy-{'one' if purposes == 1 else 'three'}.toml").rename(fleet / "policy.toml")
    names = re.findall(r"^\[purpose\.(\w+)\]", (fleet / "policy.toml").read_text(), re.M)
    with open(fleet / "consent.jsonl", "w") as out:
        for n in range(subjects):
            out.write(json.dumps({"subject": f"device-{n:08}-4f1c", "purposes": {name: "given" for name in names}, "notice": {"version": "1", "language": "en"}}) + "\n")
    return fleet


def ready(path, process):
    for _ in range(600):
        found = re.search(r"http://([0-9.]+:[1-9][0-9]*)", path.read_text())
        if found:
            return found.group(1)
        if process.poll() is not None:
            sys.exit("the service did not start: " + path.read_text()[-2000:])
        time.sleep(0.05)
    sys.exit("the service was not ready in 30 s")


if __name__ == "__main__":
    main()
