"""Builds the programs of this folder and runs each under valgrind and under ASan with UBSan, with a hub of its own.

run.py CARGO TARGET [--pocketbase BINARY] [NAME ...]      NAME: of a program, "examples" or "install"

Then it runs the examples, against the hub and, if there is one, against the real PocketBase, and installs the library.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLES = ROOT / "examples" / "c"
PROGRAMS = ["threads", "life", "callbacks", "source", "one_answer", "loop", "views", "matrix", "wrapper"]
# What examples/c/glib.c says.
GLIB = ["logged in", "reset, ", "insert, ", "the loop was held up for"]
STRICT = ["-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_GNU_SOURCE", f"-I{ROOT / 'include'}"]
C, CXX = ["gcc", "-std=c11", *STRICT], ["g++", "-std=c++17", *STRICT]
# What a Rust static library needs of the system: `rustc --print native-static-libs`, but for what gcc adds itself.
NATIVE = ["-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
VALGRIND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,possible",
            "--child-silent-after-fork=yes", "--fair-sched=yes", f"--suppressions={HERE / 'valgrind.supp'}"]


def run(*command, **options):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, **options)
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[:60])
        raise SystemExit(f"{shlex.join(command)}\n{said}\nexit code {done.returncode}")
    return done.stdout


@contextlib.contextmanager
def hub(target, *options):
    users = [word for user in ("ada", "bob") for word in ("--user", f"{user}@example.com", "secret")]
    with subprocess.Popen([target / "debug/examples/hub", *users, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def check_that_nothing_is_missing():
    """`everywhere.h` calls all that a client has."""
    header = (ROOT / "include/tidings.h").read_text()
    everywhere = (HERE / "everywhere.h").read_text()
    named = set(re.findall(r"(tidings_\w+)\(\s*tidings_client \*client", header))
    missing = [name for name in named - {"tidings_client_close", "tidings_client_free"} if f"{name}(" not in everywhere]
    if missing:
        raise SystemExit(f"everywhere.h does not call {', '.join(missing)}")


def test(name, mode, target, folder):
    source = HERE / f"{name}.c"
    if name == "matrix":
        source = folder / f"matrix-{mode}.c"
        run(sys.executable, HERE / "matrix.py", ROOT / "include/tidings.h", source)
    compiler = C
    if name == "wrapper":
        source, compiler = HERE / "wrapper.cpp", CXX
    program = folder / f"{name}-{mode}"
    library = target / "debug"
    environment = os.environ.copy()
    if mode == "valgrind":
        run(*compiler, f"-I{HERE}", source, f"-L{folder}", "-ltidings", f"-Wl,-rpath,{folder}", "-pthread", "-o", program)
        command = [*VALGRIND, program]
    else:
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
        run(*compiler, *sanitizers, f"-I{HERE}", source, library / "libtidings.a", *NATIVE, "-o", program)
        environment["ASAN_OPTIONS"] = "detect_stack_use_after_return=1"
        command = [program]
    began = time.monotonic()
    with hub(target) as url:
        said = run(*command, env={**environment, "TIDINGS_HUB": url})
    tests = said.count("  ok ")
    return f"{name} under {mode}: {tests} ok in {time.monotonic() - began:.0f} s"


def expect(output, *wanted):
    for text in wanted:
        if text not in output:
            raise SystemExit(f"{text!r} is not in\n{output}")


def lines(command, count, feed=None):
    """The first lines of a program that goes on; its input comes when it says that it is live."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = ""
            while said.count("\n") < count:
                line = process.stdout.readline()
                if not line:
                    break
                said += line
                if feed and "[live]" in line:
                    process.stdin.write(feed)
                    process.stdin.flush()
        finally:
            process.kill()
    return said


def build_examples(folder):
    link = [f"-L{folder}", "-ltidings", f"-Wl,-rpath,{folder}", "-pthread"]
    others = {"libevent": ["-levent"], "glib": shlex.split(run("pkg-config", "--cflags", "--libs", "glib-2.0"))}
    for source in sorted(EXAMPLES.glob("*.c")):
        run(*C, source, *link, *others.get(source.stem, []), "-o", folder / source.stem)
    for source in sorted(EXAMPLES.glob("*.cpp")):
        run(*CXX, source, *link, "-o", folder / source.stem)


def run_examples(folder, ticking, quiet):
    """`ticking` makes posts by itself; with `quiet` only we do."""
    expect(run(folder / "callbacks", quiet), "create ", "update ", "delete ", "Hello, C")
    expect(run(folder / "wrapper", quiet), "create", "update", "delete")
    expect(lines([folder / "tail", ticking, "posts"], 3), "create {", "update {")
    expect(run(folder / "libevent", ticking, "3"), "create ", "update ", "delete ")
    expect(run(folder / "glib", quiet, "posts", "ada@example.com", "secret"), *GLIB)
    expect(lines([folder / "poll", quiet], 4, feed="a line\n"), "[live]", "[subscribed]", '"title":"a line"')


@contextlib.contextmanager
def pocketbase(binary, folder):
    """The real server, with a collection that everybody may use."""
    data = folder / "pb_data"
    run(binary, "superuser", "upsert", "admin@example.com", "secret12345", "--dir", data)
    address = "127.0.0.1:18791"
    command = [binary, "serve", "--http", address, "--dir", data]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        def ask(path, body, token=""):
            request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", "Authorization": token})
            return json.load(urllib.request.urlopen(request, timeout=10))
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://{address}/api/health", timeout=1)
                    break
                time.sleep(0.05)
            token = ask("/api/collections/_superusers/auth-with-password", {"identity": "admin@example.com", "password": "secret12345"})["token"]
            open_to_all = {f"{rule}Rule": "" for rule in ("list", "view", "create", "update", "delete")}
            ask("/api/collections", {"name": "posts", "type": "base", "fields": [{"name": "title", "type": "text"}], **open_to_all}, token)
            yield f"http://{address}"
        finally:
            process.kill()


@contextlib.contextmanager
def ticks(url):
    """Somebody who makes, changes and deletes posts."""
    script = f"""
import json, time, urllib.request
def ask(method, path, body=None):
    request = urllib.request.Request({url!r} + '/api/collections/posts/records' + path, body and json.dumps(body).encode(), {{'Content-Type': 'application/json'}}, method=method)
    return urllib.request.urlopen(request, timeout=10).read()
while True:
    id = json.loads(ask('POST', '', {{'title': 'x'}}))['id']
    time.sleep(0.2)
    ask('PATCH', '/' + id, {{'title': 'y'}})
    time.sleep(0.2)
    ask('DELETE', '/' + id)
    time.sleep(0.2)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        try:
            yield
        finally:
            process.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cargo")
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--pocketbase")
    parser.add_argument("names", nargs="*", default=[*PROGRAMS, "examples", "install"])
    arguments = parser.parse_args()
    check_that_nothing_is_missing()
    target = arguments.target.resolve()
    cargo = [arguments.cargo, "build", "--quiet", "--target-dir", target]
    run(*cargo, "--package", "tidings-c", cwd=ROOT)
    run(*cargo, "--example", "hub", cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        shutil.copy(target / "debug/libtidings.so", folder / "libtidings.so.0")
        (folder / "libtidings.so").symlink_to("libtidings.so.0")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(test, name, mode, target, folder) for name in arguments.names if name in PROGRAMS for mode in ("valgrind", "sanitizers")]
            for job in concurrent.futures.as_completed(jobs):
                print(" ", job.result(), flush=True)
        if "examples" in arguments.names:
            examples(folder, target, arguments.pocketbase)
    if "install" in arguments.names:
        # The check of what is installed must be able to fail: this library was built without a thought for it.
        if subprocess.run([sys.executable, ROOT / "tests/reach/paths.py", target / "debug/libtidings.so"], capture_output=True).returncode == 0:
            raise SystemExit("tests/reach/paths.py finds no folder in a library that names some")
        with hub(target) as url:
            print(run(HERE / "install.sh", url, env={**os.environ, "TIDINGS_BUILD": str(target / "cmake")}), end="")
    print("  all ok")


def run_pages(folder, ticking):
    """The programs in README.md and docs/, each until it prints an event. Functions by themselves are compiled."""
    count = 0
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        for code in re.findall(r"^```c\n(.*?)^```", page.read_text(), re.M | re.S):
            source = folder / f"page-{count}.c"
            source.write_text(code.replace("http://127.0.0.1:8090", ticking))
            if "int main(" not in code:
                run(*C, "-Wno-missing-prototypes", "-c", source, "-o", source.with_suffix(".o"))
                count += 1
                continue
            run(*C, source, f"-L{folder}", "-ltidings", f"-Wl,-rpath,{folder}", "-pthread", "-o", source.with_suffix(""))
            # What goes into a pipe waits for a full buffer otherwise.
            said = lines(["stdbuf", "-oL", source.with_suffix("")], 1 if "tidings_view" in code else 2)
            if not re.search(r"^(create|update|delete) |^0 tasks, proven", said, re.M):
                raise SystemExit(f"a program of {page.name} printed no event:\n{said}")
            count += 1
    if count < 2:
        raise SystemExit(f"only {count} programs in C were found in README.md and docs/")


def examples(folder, target, binary):
    """Builds them, and runs them against the hub and the real server."""
    build_examples(folder)
    with hub(target, "--tick") as ticking, hub(target) as quiet:
        run_examples(folder, ticking, quiet)
        run_pages(folder, ticking)
    print("  examples and pages with the hub: ok", flush=True)
    if binary:
        with pocketbase(binary, folder) as url:
            run(folder / "callbacks", url)
            with ticks(url):
                expect(lines([folder / "tail", url, "posts"], 3), "create {", "update {", "delete {")
                expect(run(folder / "libevent", url, "3"), "create ", "update ", "delete ")
            expect(run(folder / "wrapper", url), "create", "update", "delete")
            expect(run(folder / "glib", url, "posts"), *GLIB[1:])
            expect(lines([folder / "poll", url], 4, feed="a line\n"), "[live]", "[subscribed]", '"title":"a line"')
        print("  examples with PocketBase: ok", flush=True)


if __name__ == "__main__":
    main()
