#!/usr/bin/env python3
"""Fuzzes: builds the targets, starts from committed corpus and seeds, and says what was run and found.

    python3 tests/fuzz/run.py [TARGET ...] [--seconds 600] [--jobs 2]     fuzz; all targets if none is named
    python3 tests/fuzz/run.py TARGET ... --keep                           put what the last runs found into the committed corpus
    python3 tests/fuzz/run.py TARGET --input FILE                         hold the law against one file

A target is one file in `targets/`: the law that it fuzzes is a file of the crate whose code it is about, where an ordinary test holds
it against `corpus/TARGET`. libFuzzer comes with the crate libfuzzer-sys; Rust's own compiler instruments the code, with the flags
below, so that the toolchain of the workspace does. What is found lies in `work/TARGET`, a failure as `work/TARGET-crash-*`; it belongs
into the corpus as `regression-*` once it is mended. `--keep` takes few and small files that between them reach most edges that were reached.
"""
import argparse, hashlib, os, pathlib, re, shutil, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent
CORPUS, WORK = HERE / "corpus", HERE / "work"
TARGET = pathlib.Path(os.environ["CARGO_TARGET_DIR"], "fuzz") if "CARGO_TARGET_DIR" in os.environ else HERE / "target"
# Naming it keeps the flags away from build scripts and macros.
HOST = re.search(r"host: (\S+)", subprocess.check_output(["rustc", "-vV"], cwd=HERE, text=True))[1]
# Longest input of each target: what reaches the limits of its reader, and no more.
TARGETS = {"protobuf": 2048, "json": 3072, "headers": 1024, "catalogue": 4096, "policy": 4096, "frames": 4096, "entries": 4096, "notes": 2048, "proofs": 1024, "certificates": 3072, "signed": 2048}
FLAGS = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cforce-frame-pointers",
]
MOST_FILES, MOST_BYTES = 150, 200_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[[], *TARGETS])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--keep", action="store_true", help="fuzz nothing: renew the committed corpus")
    parser.add_argument("--input", type=pathlib.Path, help="fuzz nothing: run this file")
    options = parser.parse_args()
    targets = options.targets or list(TARGETS)
    build(targets)
    if options.input:
        sys.exit(subprocess.run([binary(targets[0]), options.input]).returncode)
    if options.keep:
        for target in targets:
            keep(target)
        return
    subprocess.run([binary("seeds"), WORK / "seeds"], env=environment(), check=True, stdout=subprocess.DEVNULL)
    found = False
    for at in range(0, len(targets), options.jobs):
        running = [(target, start(target, options.seconds)) for target in targets[at : at + options.jobs]]
        for target, process in running:
            found |= process.wait() != 0
            print(report(target, process.returncode), flush=True)
    sys.exit(1 if found else 0)


def environment():
    # Recovery syncs files: in memory where the machine offers it.
    shared = {"TMPDIR": "/dev/shm"} if os.path.isdir("/dev/shm") else {}
    return {**os.environ, **shared, "RUST_BACKTRACE": "1"}


def build(targets):
    flags = " ".join([*FLAGS, "--cfg fuzzing"])
    command = ["cargo", "build", "--release", "--locked", "--target", HOST, "--target-dir", TARGET]
    for name in [*targets, "seeds"]:
        command += ["--bin", name]
    subprocess.run(command, cwd=HERE, env={**os.environ, "RUSTFLAGS": flags}, check=True)


def binary(name):
    return TARGET / HOST / "release" / name


def start(target, seconds):
    work = WORK / target
    work.mkdir(parents=True, exist_ok=True)
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    dictionary = HERE / "dictionaries" / f"{target}.dict"
    command = [binary(target), work, CORPUS / target, WORK / "seeds" / target, f"-max_total_time={seconds}", f"-max_len={TARGETS[target]}"]
    command += ["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1", f"-artifact_prefix={work.parent}/{target}-"]
    command += [f"-dict={dictionary}"] if dictionary.is_file() else []
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=open(WORK / f"{target}.log", "w"))


def report(target, code):
    log = (WORK / f"{target}.log").read_text(errors="replace")
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    cov, ft, corp = covered[-1] if covered else ("?", "?", "?")
    done = re.search(r"number_of_executed_units: (\d+)", log)
    rate = re.search(r"average_exec_per_sec:\s+(\d+)", log)
    verdict = "nothing found" if code == 0 else f"FOUND (see work/{target}.log)"
    return f"{target}: {done[1] if done else '?'} executions, {rate[1] if rate else '?'} a second, {cov} edges, {ft} features, {corp} inputs: {verdict}"


def keep(target):
    """Merges, then covers all edges greedily: libFuzzer's own merge keeps a file for each feature, which is too many to commit."""
    fresh, control = WORK / f"{target}.merged", WORK / f"{target}.control"
    shutil.rmtree(fresh, ignore_errors=True)
    control.unlink(missing_ok=True)
    fresh.mkdir(parents=True)
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    from_ = [CORPUS / target, WORK / target, WORK / "seeds" / target]
    command = [binary(target), "-set_cover_merge=1", f"-merge_control_file={control}", f"-max_len={TARGETS[target]}", "-rss_limit_mb=2048"]
    subprocess.run([*command, fresh, *[f for f in from_ if f.is_dir()]], env=environment(), check=True, stderr=subprocess.DEVNULL)
    covers = edges(control)
    missing, chosen, size = set().union(*covers.values()), [], 0
    while missing and len(chosen) < MOST_FILES:
        best = max(covers, key=lambda file: (len(covers[file] & missing) / (file.stat().st_size + 1_000), file.name))
        gained = covers.pop(best) & missing
        if not gained:
            break
        missing -= gained
        if size + best.stat().st_size <= MOST_BYTES:
            chosen.append(best)
            size += best.stat().st_size
    contents = {file.read_bytes() for file in chosen}
    for file in (CORPUS / target).iterdir():
        if not file.name.startswith("regression-"):
            file.unlink()
    for content in contents:
        (CORPUS / target / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    print(f"{target}: {len(contents)} files of {size} bytes kept; {len(missing)} edges are left out")


def edges(control):
    """Which edges each file reaches. The control file lists the files, then for each its number and features: eight to an edge."""
    lines = control.read_text().split("\n")
    count = int(lines[0])
    files = [pathlib.Path(name) for name in lines[2 : 2 + count]]
    covers = {}
    for line in lines[2 + count :]:
        words = line.split()
        if words and words[0] == "FT":
            covers[files[int(words[1])]] = {int(feature) // 8 for feature in words[2:]}
    return covers


if __name__ == "__main__":
    main()
