"""What a program with the client weighs, with and without the parts that not everybody needs.

    python3 size.py CARGO TARGET
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MOST = 60
PROGRAM = """
fn main() {
    let client = tidings::Client::new("http://127.0.0.1:8090").expect("it is a URL");
    let mut posts = futures::executor::block_on(client.collection("posts").subscribe("*").into_future()).expect("a server");
    while let Some(event) = futures::executor::block_on(futures::StreamExt::next(&mut posts)) {
        println!("{}", event.action());
    }
}
"""
MANIFEST = """
[package]
name = "small"
version = "0.1.0"
edition = "2024"
[workspace]
[dependencies]
futures = { version = "0.3.31", default-features = false, features = ["std", "executor"] }
tidings = { path = "%s", default-features = false, features = [%s] }
[profile.release]
lto = "fat"
codegen-units = 1
strip = "symbols"
opt-level = "z"
panic = "abort"
"""


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-4000:]}")
    return done.stdout


def weigh(cargo, target, features, ascii_only):
    """How many crates are built into it, and how many bytes it has."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "src").mkdir()
        (folder / "src/main.rs").write_text(PROGRAM)
        (folder / "Cargo.toml").write_text(MANIFEST % (ROOT, ", ".join(f'"{name}"' for name in features)))
        shutil.copy(ROOT / "Cargo.lock", folder)
        if ascii_only:
            run(cargo, "update", "--quiet", "--package", "idna_adapter", "--precise", "1.0.0", cwd=folder)
        tree = run(cargo, "tree", "--quiet", "--edges", "normal,no-proc-macro", "--prefix", "none", "--package", "tidings", cwd=folder)
        crates = {line.removesuffix(" (*)") for line in tree.splitlines() if line and not line.startswith("warning")}
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target / "small"), "CARGO_INCREMENTAL": "0"}
        run(cargo, "build", "--quiet", "--release", cwd=folder, env=environment)
        return len(crates), (target / "small/release/small").stat().st_size


def main():
    cargo, target = sys.argv[1], pathlib.Path(sys.argv[2]).absolute()
    rows = [("default", ["async-io", "tls", "proxy"], False), ("without tls, proxy", ["async-io"], False),
            ("without tls, proxy; host names in ASCII", ["async-io"], True)]
    for name, features, ascii_only in rows:
        crates, size = weigh(cargo, target, features, ascii_only)
        print(f"  {name}: {crates} crates, {size:,} bytes", flush=True)
    shutil.rmtree(target / "small", ignore_errors=True)
    if crates > MOST:
        raise SystemExit(f"more than {MOST} crates")


if __name__ == "__main__":
    main()
