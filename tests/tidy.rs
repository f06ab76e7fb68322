//! Rules of the house that the compiler does not know. Each rule is a function from a file to what is wrong
//! with it, and each has a test that it can fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The layers, from the inside out. A module imports from its own line and from lines above it, whatever
/// the spelling of the path; the longest name that fits a module is its place. A new module of the engine
/// needs a name here; one of the application is part of `app` unless it has one. `crate` is the root itself:
/// what `lib.rs` re-exports is for those outside. Modules called `tests` may look outwards.
const LAYERS: &[&[&str]] = &[
    &["engine::limits", "engine::error", "engine::chunks", "engine::pool", "engine::ages"],
    &["engine::clients", "engine::proxies"],
    &["engine::wire", "engine::timer"],
    &["engine::outbox"],
    &["engine::io"],
    &["engine::app", "engine::slots", "engine::gate", "engine::balance", "engine::inbox"],
    &["engine", "engine::reactor"],
    &["app::crypto", "app::protocol", "app::mail"],
    &["store"],
    &["app::config", "app::figures"],
    &["app::relay", "app::members"],
    &["app::session"],
    &["app"],
    &["server"],
    &["cli", "main", "lib", "crate"],
];

const LINES_MAX: usize = 600;
const LONGER: &str = "Over 600 lines:";

/// Files in which `unsafe` may stand: descriptors that come from, or go to, another process, a thread's own file
/// table, memory that goes back to the kernel, what io_uring shares with it, and allocators that count or poison.
const UNSAFE: &[&str] = &[
    "benches/delivery/bare.rs",
    "benches/peers/src/bin/bare-uring.rs",
    "benches/peers/src/bin/zero-copy.rs",
    "src/engine/io/uring/accept.rs",
    "src/engine/io/uring/buffers.rs",
    "src/engine/io/uring/probe.rs",
    "src/engine/io/uring/request.rs",
    "src/engine/io/uring/ring.rs",
    "src/engine/io/uring/send.rs",
    "src/engine/io/uring/transfer.rs",
    "src/server/activation.rs",
    "src/server/file_table.rs",
    "src/server/memory.rs",
    "tests/allocations.rs",
    "tests/uring_memory.rs",
];

/// Files that may sleep: the wait of the main thread for its reactors, and a bench that waits for a thread to rest.
const SLEEPS: &[&str] = &["src/server/mod.rs", "benches/common/process.rs"];

/// Files that may look at a clock all the same: a thread gives the time to what it runs.
const CLOCKS: &[&str] = &[
    "src/engine/io/epoll.rs",
    "src/engine/io/epoll/order.rs",
    "src/engine/io/epoll/order/tests.rs",
    "src/engine/io/epoll/tests.rs",
    "src/store/thread.rs",
];

/// A Rust file, taken apart far enough for these rules.
struct Source {
    path: String,
    lines: usize,
    /// What starts there, on which line: identifiers, `::` and single characters; no text, no comments.
    tokens: Vec<(usize, String)>,
    /// Lines of comments.
    comments: Vec<(usize, String)>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            tokens: Vec::new(),
            comments: Vec::new(),
        };
        source.scan(text);
        source
    }

    fn scan(&mut self, text: &str) {
        let mut rest = text;
        let mut line = 1;
        while let Some(first) = rest.chars().next() {
            let len = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else if let Some(len) = literal(rest) {
                len
            } else if rest.starts_with("::") {
                2
            } else if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (piece, behind) = rest.split_at(len);
            if piece.starts_with("//") || piece.starts_with("/*") {
                let lines = piece.lines().enumerate();
                self.comments.extend(lines.map(|(number, text)| (line + number, text.to_owned())));
            } else if piece.starts_with("::") || !first.is_whitespace() && literal(piece).is_none() {
                self.tokens.push((line, piece.to_owned()));
            }
            line += piece.matches('\n').count();
            rest = behind;
        }
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |(_, token)| token)
    }

    fn has(&self, at: usize, tokens: &[&str]) -> bool {
        tokens.iter().enumerate().all(|(number, token)| self.token(at + number) == *token)
    }

    /// The module that a file of the library is: `src/engine/io/mod.rs` is `engine::io`.
    fn module(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        Some(path.split('/').map(str::to_owned).collect())
    }

    /// Every path that begins at the crate's root or can be followed there, whole, with its line.
    fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let Some(file) = self.module() else { return Vec::new() };
        let mut module = if file == ["lib"] || file == ["main"] { Vec::new() } else { file };
        // For each brace that is open: whether it is that of a module.
        let mut braces = Vec::new();
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            match self.token(at) {
                "{" => {
                    let is_module = at > 1 && self.token(at - 2) == "mod";
                    if is_module {
                        module.push(self.token(at - 1).to_owned());
                    }
                    braces.push(is_module);
                }
                "}" if braces.pop() == Some(true) => {
                    module.pop();
                }
                "crate" | "super" | "self" | "mida"
                    if self.begins_path(at) && !module.contains(&"tests".into()) =>
                {
                    self.expand(at, &module, &mut Vec::new(), &mut found);
                }
                _ => {}
            }
        }
        found
    }

    /// A path, not a visibility, a field, or the middle of another path.
    fn begins_path(&self, at: usize) -> bool {
        let before = if at == 0 { "" } else { self.token(at - 1) };
        let is_visibility = before == "in" || at > 1 && before == "(" && self.token(at - 2) == "pub";
        self.token(at + 1) == "::" && before != "::" && !is_visibility
    }

    /// Follows the path at token `at`, and each branch of it, from `module`; returns where it ends.
    fn expand(
        &self,
        mut at: usize,
        module: &[String],
        path: &mut Vec<String>,
        found: &mut Vec<(usize, Vec<String>)>,
    ) -> usize {
        let depth = path.len();
        let line = self.tokens.get(at).map_or(0, |(line, _)| *line);
        let mut is_whole = true;
        loop {
            match self.token(at) {
                "crate" | "mida" if path.is_empty() => path.push("crate".into()),
                "super" if path.is_empty() || path.ends_with(&["super".into()]) => path.push("super".into()),
                "self" if !path.is_empty() => {}
                "{" => {
                    is_whole = false;
                    at += 1;
                    while !matches!(self.token(at), "}" | "") {
                        at = self.expand(at, module, path, found);
                        at += usize::from(self.token(at) == ",");
                    }
                }
                name => path.push(name.to_owned()),
            }
            at += 1;
            if self.token(at) == "as" {
                at += 2;
            }
            if self.token(at) != "::" || !is_whole {
                break;
            }
            at += 1;
        }
        if is_whole {
            found.push((line, absolute(module, path)));
        }
        path.truncate(depth);
        at
    }
}

/// `super::x` and `self::x` from the root.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let from_root = path.first().is_some_and(|name| name == "crate");
    let names = path.iter().filter(|name| !matches!(name.as_str(), "crate" | "super" | "self"));
    let base = if from_root { &[] } else { &module[..module.len().saturating_sub(ups)] };
    base.iter().chain(names).filter(|name| *name != "*").cloned().collect()
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of the literal that `text` starts with: a string of any kind, or a character.
fn literal(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !"bcr".contains(c)).filter(|at| *at <= 2)?;
    let (kind, rest) = text.split_at(prefix);
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = &rest[hashes..];
    if body.starts_with('"') && (hashes == 0 || kind.ends_with('r')) {
        let end = format!("\"{}", "#".repeat(hashes));
        let mut at = 1;
        while at < body.len() && !body[at..].starts_with(&end) {
            let is_escape = body[at..].starts_with('\\') && !kind.ends_with('r');
            at += if is_escape { 1 } else { 0 };
            at += body[at..].chars().next().map_or(1, char::len_utf8);
        }
        return Some((prefix + hashes + at + end.len()).min(text.len()));
    }
    if rest.starts_with('\'') && matches!(kind, "" | "b") {
        let mut chars = rest[1..].char_indices();
        let (_, first) = chars.next()?;
        // A lifetime has no quote behind its first letter.
        let end = if first == '\\' { rest[3..].find('\'')? + 3 } else { chars.next()?.0 + 1 };
        return rest[end..].starts_with('\'').then_some(prefix + end + 1);
    }
    None
}

/// The line of [`LAYERS`] that a module belongs to.
fn layer(module: &[String]) -> Option<usize> {
    let name = if module.is_empty() { "crate".to_owned() } else { module.join("::") };
    let fits =
        |known: &str| name == known || name.starts_with(known) && name[known.len()..].starts_with("::");
    let best =
        LAYERS.iter().flat_map(|line| *line).filter(|known| fits(known)).max_by_key(|known| known.len());
    best.and_then(|best| LAYERS.iter().position(|line| line.contains(best)))
}

fn imports(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own) = layer(&module) else {
        return vec![format!("{}: this module has no place among the layers of tests/tidy.rs", source.path)];
    };
    let is_container = |name: &str| module.len() > 1 && module[0] == name;
    if is_container("engine") && !LAYERS.concat().contains(&&*module[..2].join("::")) {
        return vec![format!(
            "{}: the engine's layers in tests/tidy.rs do not name this module",
            source.path
        )];
    }
    let mut wrong = Vec::new();
    for (line, path) in source.paths() {
        // A name that is no module is one of the root's own.
        let to = layer(&path).or(layer(&[]));
        if to > Some(own) {
            wrong.push(format!(
                "{}:{line}: {} may not import {}",
                source.path,
                module.join("::"),
                path.join("::")
            ));
        }
    }
    wrong
}

/// The map of the code in `src/lib.rs` names the parts of each tree.
fn place_on_the_map(source: &Source) -> Vec<String> {
    let module = source.module().unwrap_or_default().join("::");
    let is_part = module.matches("::").count() == 1
        && !module.ends_with("::tests")
        && ["engine::", "app::", "store::", "server::"].iter().any(|tree| module.starts_with(tree));
    let is_there = include_str!("../src/lib.rs").contains(&format!("`{module}`"));
    if is_part && !is_there { vec![format!("{}: not on the map in src/lib.rs", source.path)] } else { vec![] }
}

fn length(source: &Source) -> Vec<String> {
    let says_why = source.comments.iter().any(|(line, text)| *line <= 10 && text.contains(LONGER));
    if source.lines <= LINES_MAX || says_why {
        return Vec::new();
    }
    vec![format!("{}: {} lines; split it, or say why with '{LONGER}'", source.path, source.lines)]
}

/// What may not stand in code.
fn words(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut say = |line: usize, what: &str| wrong.push(format!("{}:{line}: {what}", source.path));
    let may = |files: &[&str]| files.contains(&source.path.as_str());
    for (at, (line, token)) in source.tokens.iter().enumerate() {
        match token.as_str() {
            "unsafe" if !may(UNSAFE) => say(*line, "unsafe"),
            "todo" | "unimplemented" | "dbg" if source.token(at + 1) == "!" => say(*line, token),
            "#" if source.has(at, &["#", "[", "ignore"]) => say(*line, "an ignored test"),
            "Instant" | "SystemTime"
                if ["src/engine/", "src/app/", "src/store/"].iter().any(|of| source.path.starts_with(of))
                    && !may(CLOCKS) =>
            {
                say(*line, "a clock: the time is given, and it is monotonic")
            }
            "sleep" if !may(SLEEPS) && is_threads(source, at) => {
                say(*line, "thread::sleep: wait for an event")
            }
            _ => {}
        }
    }
    for (line, text) in &source.comments {
        let is_table = text.contains('|') || text.contains('+');
        if !is_table && ["====", "----", "####", "****", "////"].iter().any(|banner| text.contains(banner)) {
            say(*line, "a banner");
        }
    }
    wrong
}

/// Whether this `sleep` is that of `std::thread`, by path or by import.
fn is_threads(source: &Source, at: usize) -> bool {
    let statement = source.tokens[..at].iter().rposition(|(_, token)| token == ";").map_or(0, |at| at + 1);
    let is_import = source.tokens[statement..at].iter().any(|(_, token)| token == "use");
    at > 1 && source.has(at - 2, &["thread", "::"])
        || is_import && source.tokens[statement..at].iter().any(|(_, token)| token == "thread")
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "examples", "benches", "fuzz"].map(|name| root.join(name)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

fn assert_tidy(rule: fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "src/engine/limits.rs"));
    let wrong: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn imports_point_inwards() {
    assert_tidy(imports);
}

#[test]
fn the_map_names_every_module() {
    assert_tidy(place_on_the_map);
}

#[test]
fn files_are_short() {
    assert_tidy(length);
}

#[test]
fn code_holds_no_forbidden_words() {
    assert_tidy(words);
}

#[test]
fn a_wrong_import_is_seen_however_it_is_written() {
    let table = [
        ("src/engine/limits.rs", "use crate::engine::wire::Opcode;", "engine::wire::Opcode"),
        ("src/engine/outbox.rs", "use super::{error::Close, io::{self}};", "engine::io"),
        ("src/engine/wire/frame.rs", "use super::super::reactor::Reactor;", "engine::reactor::Reactor"),
        ("src/engine/wire/mod.rs", "pub use super::outbox::*;", "engine::outbox"),
        ("src/engine/wire/mod.rs", "use super::*;", "engine"),
        ("src/engine/wire/mod.rs", "use crate::engine;", "engine"),
        ("src/engine/wire/frame.rs", "mod inner { use super::super::super::slots; }", "engine::slots"),
        ("src/engine/wire/frame/inner.rs", "use super::super::super::io;", "engine::io"),
        ("src/engine/timer.rs", "fn f() -> crate::engine::io::Token { loop {} }", "engine::io::Token"),
        ("src/engine/timer.rs", "impl crate::engine::slots::Links for X {}", "engine::slots::Links"),
        ("src/engine/reactor/core.rs", "use crate::app::Mida;", "app::Mida"),
        ("src/engine/reactor/core.rs", "use crate::Mida;", "Mida"),
        ("src/engine/reactor/core.rs", "use crate::{engine::io, server as outer};", "server"),
        ("src/app/crypto/seal.rs", "use crate::app::session::Session;", "app::session::Session"),
        ("src/app/crypto/seal.rs", "use super::super::Mida;", "app::Mida"),
        ("src/app/relay.rs", "use super::session;", "app::session"),
        ("src/app/session/mod.rs", "use super::store::Store;", "app::store::Store"),
        ("src/app/mod.rs", "use crate::server::Running;", "server::Running"),
        ("src/app/store.rs", "mod tests { mod inner {} } use crate::cli;", "cli"),
        ("src/server/mod.rs", "use crate::cli::serve;", "cli::serve"),
        ("src/store/keeper.rs", "use crate::app::config::Config;", "app::config::Config"),
        ("src/store/keeper.rs", "use crate::app::session::Session;", "app::session::Session"),
        ("src/engine/inbox.rs", "use crate::store::Store;", "store::Store"),
        ("src/engine/colour.rs", "", "tests/tidy.rs do not name this module"),
        ("src/colour.rs", "", "no place among the layers of tests/tidy.rs"),
    ];
    for (path, text, names) in table {
        let wrong = imports(&Source::new(path, text));
        let ends = if text.is_empty() { names.to_owned() } else { format!(" may not import {names}") };
        assert!(wrong.len() == 1 && wrong[0].ends_with(&ends), "{path}: {text}: {wrong:?}");
    }
}

#[test]
fn a_right_import_is_left_alone() {
    let table = [
        ("src/engine/outbox.rs", "use super::{limits, error::Close, wire::frame::{self, Opcode}};"),
        ("src/engine/gate.rs", "use super::app::App; use crate::engine::slots::*;"),
        ("src/engine/limits.rs", "mod tests { use super::*; mod deep { use super::super::Limits; } }"),
        ("src/engine/limits.rs", "mod tests { use super::*; } use self::tests::x; use std::io::Read;"),
        ("src/engine/wire/frame/tests.rs", "use super::*; use crate::engine::wire::tests::config;"),
        (
            "src/engine/wire/mod.rs",
            "pub(in crate::engine) mod tests { pub(super) fn f() { self.reactor() } }",
        ),
        (
            "src/engine/wire/mod.rs",
            "/// [`x`](crate::server)\n// use crate::server;\nconst X: &str = \"crate::server\";",
        ),
        (
            "src/engine/wire/mod.rs",
            "/* /* */ use crate::server; */ const Q: char = '\"'; const R: &str = r#\"\"crate::app::x\"#;",
        ),
        ("src/engine/wire/mod.rs", "fn f<'a>(x: &'a str) -> char { '\\'' } // crate::server::x"),
        (
            "src/app/relay.rs",
            "use crate::{app::{crypto, protocol::Event, protocol::decode::*}, engine::reactor::Reactor};",
        ),
        ("src/app/store.rs", "use super::{relay, Mida};"),
        ("src/engine/io/memory.rs", "#[cfg(test)] mod tests { use super::super::reactor::Reactor; }"),
        ("src/engine/io/memory/tests.rs", "use crate::engine::reactor::Reactor;"),
        ("src/server/mod.rs", "use crate::{app::Mida, engine::io::epoll::Epoll};"),
        ("src/store/mod.rs", "use self::keeper::Now; use crate::{app::mail::Job, engine::inbox::Inbox};"),
        ("src/server/mod.rs", "use crate::store::Store;"),
        ("src/main.rs", "mod cli; use mida::server; use crate::cli::serve; use cli::keygen;"),
        ("src/lib.rs", "pub use crate::server::start; pub use engine::app::App;"),
        ("tests/conformance.rs", "use mida::server::start;"),
    ];
    for (path, text) in table {
        assert_eq!(imports(&Source::new(path, text)), [""; 0], "{path}: {text}");
    }
}

#[test]
fn a_module_that_the_map_does_not_name_is_seen() {
    for (path, wrong) in [
        ("src/engine/colour.rs", 1),
        ("src/app/colour/mod.rs", 1),
        ("src/server/time.rs", 1),
        ("src/store/colour.rs", 1),
        ("src/store/book.rs", 0),
        ("src/store/tests/mod.rs", 0),
        ("src/engine/pool.rs", 0),
        ("src/engine/io/colour.rs", 0),
        ("src/cli/colour.rs", 0),
        ("tests/colour.rs", 0),
    ] {
        assert_eq!(place_on_the_map(&Source::new(path, "")).len(), wrong, "{path}");
    }
}

#[test]
fn a_long_file_is_seen_unless_it_says_why() {
    let long = "//! A file.\nx\n".repeat(301);
    assert_eq!(length(&Source::new("src/x.rs", &long)).len(), 1);
    assert_eq!(length(&Source::new("src/x.rs", &long[..long.len() / 2])).len(), 0);
    let excused = format!("//! A file.\n//! Over 600 lines: one table.\n{long}");
    assert_eq!(length(&Source::new("src/x.rs", &excused)).len(), 0);
    assert_eq!(length(&Source::new("src/x.rs", &format!("{long}// Over 600 lines: too late"))).len(), 1);
}

#[test]
fn a_forbidden_word_is_seen_in_code_and_not_in_text() {
    let wrong = [
        "unsafe { f() }",
        "fn f() { todo!() }",
        "fn f() { unimplemented!(\"x\") }",
        "let x = dbg!(y);",
        "#[ignore]",
        "#[test]\n#[ignore = \"slow\"]",
        "std::thread::sleep(x);",
        "let x = 1; use std::thread::sleep;",
        "use std::{thread::{self, sleep}, io};",
        "// ==== Section ====",
        "//--------",
        "/* #### */",
        "/****** x ******/",
        "///////////",
        "/// ----------\n",
    ];
    for text in wrong {
        assert_eq!(words(&Source::new("tests/x.rs", text)).len(), 1, "{text}");
    }
    for path in ["src/engine/timer.rs", "src/app/session.rs", "src/store/keeper.rs"] {
        for text in ["use std::time::Instant;", "let now = SystemTime::now();"] {
            assert_eq!(words(&Source::new(path, text)).len(), 1, "{path}: {text}");
            assert_eq!(words(&Source::new("src/server/mod.rs", text)).len(), 0, "{text}");
            assert_eq!(words(&Source::new("src/store/thread.rs", text)).len(), 0, "{text}");
        }
    }
    let right = [
        "#![forbid(unsafe_code)]",
        "// an unsafe todo!() with dbg!(thread::sleep)",
        "const X: &str = \"unsafe \\\" todo!() ====\"; let y = '\"'; let z = \"thread::sleep\";",
        "let x = r\"unsafe \\\"; let y = br##\"todo!() \"# dbg!()\"##; f(b\"unsafe\", b'\\'', 'u');",
        "fn todo() {} fn sleep() {} let x = self.sleep(); let ignore = [0];",
        "/// | a | b |\n/// |----|----|\n// - a list",
        "const X: u8 = b'#'; // a - b",
    ];
    for text in right {
        assert_eq!(words(&Source::new("tests/x.rs", text)), [""; 0], "{text}");
    }
}
