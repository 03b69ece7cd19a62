"""What these scripts need: the service on a core of its own, the load and this script on the other, and a floor as yardstick.

Python's standard library only; Linux, two cores.
"""
import http.client, json, os, pathlib, re, shutil, signal, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORES = sorted(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")
DEVICE, BACKEND = "bench-device-token", "bench-backend-token"
# Records of a request, as the load has them.
RECORDS = 500


def add_common(parser):
    parser.add_argument("--binary", type=pathlib.Path, help="the service to measure; otherwise it is built for release")
    parser.add_argument("--no-build", action="store_true", help="measure the binaries that are there")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--json", action="store_true")


class Tools:
    """The binaries; builds what is missing."""

    def __init__(self, options):
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache/candor/target"))
        self.service = (options.binary or target / "release/candor").resolve()
        self.load, self.floor = target / "bench/release/load", target / "bench/release/floor"
        if not options.no_build:
            cargo = lambda where, folder, *what: subprocess.run(
                ["cargo", "build", "--release", *what], cwd=where, env=dict(os.environ, CARGO_TARGET_DIR=str(folder)), check=True)
            if not options.binary:
                cargo(ROOT, target, "-p", "candor-cli")
            cargo(HERE, target / "bench")
        # The load and this script stay off the core of the service.
        os.sched_setaffinity(0, {CORES[-1]})


class Folder(tempfile.TemporaryDirectory):
    """A folder that goes with everything in it, on the disk that CANDOR_BENCH_FOLDER names."""

    def __init__(self):
        super().__init__(prefix="candor-bench-", dir=os.environ.get("CANDOR_BENCH_FOLDER"))

    def __enter__(self):
        return pathlib.Path(super().__enter__())


class Service:
    """A running service; `ready_seconds` from its spawn to its answer at /readyz."""

    def __init__(self, binary, folder, fleet, **settings):
        self.binary, self.data, self.log = binary, folder / "data", folder / "stderr"
        environment = dict(os.environ, **{f"CANDOR_{name.upper()}": str(value) for name, value in settings.items()})
        start = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [binary, "serve", "--fleet", fleet, "--data", self.data, "--http", "127.0.0.1:0"], cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, {CORES[0]}))
        self.address = self._address()
        self.call("GET", "/readyz")
        self.ready_seconds = time.monotonic() - start
        self.ready_cpu = self.cpu()

    def _address(self):
        for _ in range(60_000):
            found = re.search(r"ready on http://([0-9.]+:[1-9][0-9]*)", self.log.read_text())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                self.fail("did not start")
            time.sleep(0.01)
        self.fail("was not ready in ten minutes")

    def call(self, method, path, body=None, connection=None, subject=None):
        """Answer of a request, 2xx or the end; with a connection of the caller's, which is kept. It may be about a subject."""
        own = connection or self.connection()
        about = {"Candor-Subject": subject} if subject else {}
        own.request(method, path, body, {"Authorization": f"Bearer {BACKEND}", "Content-Type": "application/json", **about})
        response = own.getresponse()
        answer = response.read()
        if response.status // 100 != 2:
            self.fail(f"answered {method} {path} with {response.status}: {answer[:500]}")
        if own is not connection:
            own.close()
        return answer

    def connection(self):
        return http.client.HTTPConnection(self.address, timeout=600)

    def flush(self):
        self.call("POST", "/v1/flush")

    def metric(self, name):
        text = self.call("GET", "/metrics").decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(re.escape(name) + r"(\{| )", line))

    def cpu(self):
        """CPU seconds so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        """MiB in memory now, and at most so far."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{name}:\s+(\d+) kB", status).group(1)) / 1024 for name in ("VmRSS", "VmHWM")]

    def stop(self):
        """A graceful stop; what the whole process took."""
        self.process.terminate()
        usage = reap(self.process)
        if self.process.returncode != 0:
            self.fail(f"ended with {self.process.returncode}")
        return usage

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def fail(self, what):
        sys.exit(f"the service {what}\n" + self.log.read_text()[-3000:])


def reap(process):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def send(tools, service, events, subjects, protocol="protobuf", connections=4, rate=0, first=0):
    """The load's answer; `first` counts events that were sent before, so that nothing is a repeat."""
    arguments = [protocol, service.address, DEVICE, events, subjects, connections, rate, first // RECORDS]
    process = subprocess.Popen([tools.load, *map(str, arguments)], stdout=subprocess.PIPE)
    answer = process.stdout.read()
    usage = reap(process)
    if process.returncode != 0:
        service.fail("was not what the load expects")
    told = json.loads(answer)
    return dict(told, busy=(usage.ru_utime + usage.ru_stime) / told["seconds"])


def floor(tools, events, subjects, purposes=1, decoder="structs", seals=False):
    """CPU seconds of the floor per million events."""
    with Folder() as folder:
        process = subprocess.Popen([tools.floor, folder, str(events), str(subjects), str(purposes), decoder, *["sealed"] * seals],
                                   preexec_fn=lambda: os.sched_setaffinity(0, {CORES[0]}))
        usage = reap(process)
        if process.returncode != 0:
            sys.exit("the floor failed")
        return (usage.ru_utime + usage.ru_stime) / (-(-events // RECORDS) * RECORDS) * 1e6


def stored(binary, data):
    """Rows stored, counted again from the tables; the end if the account does not balance."""
    answer = subprocess.run([binary, "audit", "totals", "--data", data, "--json"], stdout=subprocess.PIPE, check=True).stdout
    return sum(row["stored"] for row in json.loads(answer)["rows"])


def check_stored(binary, data, expected):
    found = stored(binary, data)
    if found != expected:
        sys.exit(f"{expected} rows were acknowledged, but {found} are stored")
    return found


def parquet_bytes(data):
    return sum(file.stat().st_size for file in (data / "tables").rglob("*.parquet"))


def make_fleet(folder, purposes=1, subjects=0):
    """The fleet of the job; `subjects` devices have consent from the start."""
    fleet = folder / "fleet"
    shutil.copytree(HERE / "fleet", fleet)
    (fleet / f"policy-{'one' if purposes == 1 else 'three'}.toml").rename(fleet / "policy.toml")
    names = re.findall(r"^\[purpose\.(\w+)\]", (fleet / "policy.toml").read_text(), re.M)
    with open(fleet / "consent.jsonl", "w") as out:
        out.writelines(statement(n, names) + "\n" for n in range(subjects))
    return fleet


def device(n):
    """How the load calls its devices."""
    return f"device-{n:08}-4f1c"


def statement(n, purposes):
    return json.dumps({"subject": device(n), "purposes": dict.fromkeys(purposes, "given"), "notice": {"version": "1", "language": "en"}})


class Machine:
    """What the rest of the machine did meanwhile."""

    def __init__(self):
        self.start, self.ours = self._busy(), self._children()

    def _busy(self):
        fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
        return (sum(fields) - fields[3] - fields[4]) / TICKS, sum(fields) / TICKS

    def _children(self):
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def says(self):
        busy, whole = (now - then for now, then in zip(self._busy(), self.start))
        others = max(0.0, busy - (self._children() - self.ours)) / whole
        return f"{len(CORES)} cores; other processes took {others:.0%} of them during the run"


def table(columns, rows):
    """Markdown: `columns` are (title, format)."""
    print("| " + " | ".join(title for title, _ in columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(form.format(**row) for _, form in columns) + " |", flush=True)


def note(text):
    print("# " + text, file=sys.stderr, flush=True)


median = statistics.median
