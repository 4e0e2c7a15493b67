//! The build script of the C library. The core crate has none.
//!
//! It gives the shared library its soname. With the feature `header` it writes `include/tidings.h` anew, or the file that
//! `TIDINGS_HEADER` names. The header is committed, so that nobody who only builds the library needs cbindgen.

fn main() {
    println!("cargo:rerun-if-changed=../../build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if matches!(target.as_str(), "linux" | "android" | "freebsd" | "netbsd" | "openbsd") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtidings.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
    }
    #[cfg(feature = "header")]
    header::write();
}

/// cbindgen knows the types and the comments. This adds what it cannot know: the prose that the header opens with, which
/// is that of `lib.rs`, a heading for each module, and how C spells the types of the border.
#[cfg(feature = "header")]
mod header {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    /// What only Rust tells apart, and what C calls it. Handles that many threads use are `&T` in Rust, and so const for
    /// cbindgen.
    const SPELLING: [(&str, &str); 22] = [
        ("OwnedText ", "char *"),
        ("Text ", "const char *"),
        ("Data ", "const void *"),
        ("Room ", "void *"),
        ("Ids ", "uint64_t *"),
        ("ErrorOut ", "tidings_error **"),
        ("StatsOut ", "tidings_stats *"),
        ("const tidings_client *", "tidings_client *"),
        ("const tidings_source *", "tidings_source *"),
        ("const tidings_view *", "tidings_view *"),
        ("RawStatus ", "tidings_status "),
        ("RawAction ", "tidings_action "),
        ("RawState ", "tidings_state "),
        ("RawGapReason ", "tidings_gap_reason "),
        ("RawReason ", "tidings_reason "),
        ("RawSubscriptionState ", "tidings_subscription_state "),
        ("RawOverflow ", "tidings_overflow "),
        ("RawSourceKind ", "tidings_source_kind "),
        ("RawLogLevel ", "tidings_log_level "),
        ("RawFreshness ", "tidings_freshness "),
        ("RawDeltaKind ", "tidings_delta_kind "),
        ("RawRemoveReason ", "tidings_remove_reason "),
    ];

    pub(super) fn write() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        println!("cargo:rerun-if-changed=src");
        println!("cargo:rerun-if-changed=cbindgen.toml");
        println!("cargo:rerun-if-env-changed=TIDINGS_HEADER");
        let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("cbindgen.toml is valid");
        let mut generated = Vec::new();
        cbindgen::Builder::new()
            .with_crate(here)
            .with_config(config)
            .generate()
            .expect("the sources can be read")
            .write(&mut generated);
        let generated = String::from_utf8(generated).expect("Rust sources are UTF-8");
        let out =
            std::env::var_os("TIDINGS_HEADER").map_or(here.join("../../include/tidings.h"), PathBuf::from);
        fs::write(out, header(here, &generated)).expect("it can be written");
    }

    fn header(here: &Path, generated: &str) -> String {
        let lib = source(here, "lib");
        let mut out = String::new();
        let mut line = |text: &str| {
            out.push_str(text);
            out.push('\n');
        };
        for prose in lib.lines().map_while(|line| line.strip_prefix("//!")) {
            line(format!("//{prose}").trim_end());
        }
        line("//\n// This file is generated from bindings/c/src; change it there.");
        line("\n#ifndef TIDINGS_H\n#define TIDINGS_H\n");
        line("#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n");
        line("#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
        line("/// The version of this header; that of the library which runs is tidings_version().");
        line(&format!("#define TIDINGS_VERSION \"{}\"", env!("CARGO_PKG_VERSION")));
        let [major, minor, patch] = [
            ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
            ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
            ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
        ]
        .map(|(part, number)| {
            line(&format!("#define TIDINGS_VERSION_{part} {number}"));
            number.parse::<u32>().expect("a number")
        });
        line("/// The same as one number that grows with each version: 10203 for 1.2.3.");
        line(&format!("#define TIDINGS_VERSION_NUMBER {}\n", major * 10_000 + minor * 100 + patch));
        line(&rule("Types"));

        let sections = sections(here, &lib);
        // A comment waits for what it is about, since a heading may come between.
        let mut comment: Vec<&str> = Vec::new();
        for text in generated.trim().lines() {
            if text.trim_start().starts_with("///") {
                comment.push(text);
                continue;
            }
            if let Some((_, title)) = sections.iter().find(|(first, _)| text.contains(&format!("{first}("))) {
                line(&rule(title));
            }
            if text.contains("tidings_") && text.contains('(') && !text.contains("(*") && !has_default(text) {
                assert!(comment.iter().any(|text| text.contains("Threads")), "who may call it: {text}");
            }
            comment.drain(..).for_each(|text| line(&named(text)));
            line(&broken(&named(&spelled(text))));
        }
        line("\n#ifdef __cplusplus\n}\n#endif\n\n#endif");
        out
    }

    /// Whether "Defaults" at the top of the header says who may call the function.
    fn has_default(text: &str) -> bool {
        let name = text.split('(').next().unwrap_or_default();
        let reads =
            ["event", "error", "state_info", "strings", "response", "source_event", "rows", "changes"];
        name.ends_with("_free")
            || name.ends_with("_name")
            || ["_options_set_", "_options_add_", "_options_on_"].iter().any(|setter| name.contains(setter))
            || reads.iter().any(|object| name.contains(&format!("tidings_{object}_")))
    }

    fn spelled(text: &str) -> String {
        let is_definition = text.starts_with("typedef") && !text.contains('(');
        let tags = if is_definition {
            &[][..]
        } else {
            &[("struct tidings_", "tidings_"), ("enum tidings_", "tidings_")]
        };
        tags.iter().chain(&SPELLING).fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// TIDINGS_OK and TIDINGS_ERR_CLOSED, as C programs like them short.
    fn named(text: &str) -> String {
        text.replace("TIDINGS_STATUS_", "TIDINGS_")
    }

    /// Arguments that do not fit into the line, on lines of their own.
    fn broken(text: &str) -> String {
        let Some((start, arguments)) = text.split_once('(').filter(|_| text.len() > WIDTH) else {
            return text.to_owned();
        };
        let mut lines = vec![format!("{start}(")];
        let mut last = String::from("   ");
        for argument in arguments.split_inclusive(", ").map(str::trim) {
            if last.len() + 1 + argument.len() > WIDTH {
                lines.push(std::mem::replace(&mut last, String::from("   ")));
            }
            last = format!("{last} {argument}");
        }
        lines.push(last);
        lines.join("\n")
    }

    const WIDTH: usize = 110;

    /// The first function of each module, and what the module is called.
    fn sections(here: &Path, lib: &str) -> Vec<(String, String)> {
        let modules = lib.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        let section = |module| {
            let source = source(here, module);
            let first = source.lines().find_map(|line| line.strip_prefix("pub extern \"C\" fn "))?;
            let title = source.lines().next()?.strip_prefix("//! ")?;
            Some((first.split('(').next()?.to_owned(), title.to_owned()))
        };
        modules.filter_map(section).collect()
    }

    fn rule(title: &str) -> String {
        format!("// ---- {title} {}\n", "-".repeat(WIDTH - 9 - title.len()))
    }

    fn source(here: &Path, module: &str) -> String {
        let path = here.join("src").join(module).with_extension("rs");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
