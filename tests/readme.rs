//! The README's first session, replayed: its commands are run, and what they print must be what stands there,
//! but for keys, numbers and times.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

const README: &str = include_str!("../README.md");

/// A command of the session and the lines that follow it.
struct Step {
    command: String,
    output: Vec<String>,
}

fn session() -> Vec<Step> {
    let (_, from) = README.split_once("## A first session").expect("the README has a first session");
    let (_, from) = from.split_once("```console\n").expect("the session is a console block");
    let (block, _) = from.split_once("\n```").expect("the block ends");
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), output: Vec::new() }),
            None => steps.last_mut().expect("a command first").output.push(line.to_owned()),
        }
    }
    steps
}

/// What is the same every time: keys and numbers are replaced, and units of time with them.
fn constant(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in line.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        match word.as_str() {
            key if key.len() >= 64 && key.bytes().all(|b| b.is_ascii_hexdigit()) => out.push_str("KEY"),
            number if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => out.push('N'),
            "ms" | "s" | "min" | "h" if out.ends_with("N ") => out.push_str("TIME"),
            _ => out.push_str(&word),
        }
        word.clear();
        out.push(c);
    }
    out.replace("N.N", "N").trim_end().to_owned()
}

/// A folder that goes when the test ends, with the server if it still runs.
struct Place {
    folder: PathBuf,
    server: Option<Child>,
    address: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn shell(&self, command: &str) -> Command {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_mida"));
        let path = format!(
            "{}:{}",
            binary.parent().expect("a folder").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&self.folder).env("PATH", path).stdin(Stdio::null());
        shell
    }

    /// Runs one step and returns what it printed.
    fn run(&mut self, command: &str) -> Vec<String> {
        if let Some(server) = command.strip_suffix(" &") {
            // Another port, so that the test can run beside a server that uses the default one.
            let mut child = self
                .shell(&format!("exec {server} --listen 127.0.0.1:0"))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("a shell");
            let mut line = String::new();
            let output = child.stdout.take().expect("a pipe");
            BufReader::new(output).read_line(&mut line).expect("the server's line");
            self.server = Some(child);
            let line = line.trim_end().to_owned();
            self.address = line.rsplit("ws://").next().expect("an address").to_owned();
            return vec![line];
        }
        if command == "kill %1" {
            let mut server = self.server.take().expect("a server");
            let killed = Command::new("kill").arg(server.id().to_string()).status().expect("kill");
            assert!(killed.success() && server.wait().expect("its end").success(), "it ends well");
            return Vec::new();
        }
        let command = command.replace("127.0.0.1:7700", &self.address);
        // Both streams in one, as a terminal shows them.
        let mut child =
            self.shell(&format!("({command}) 2>&1")).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut text = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("UTF-8");
        child.wait().expect("its end");
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_first_session_happens_as_it_is_told() {
    let folder = std::env::temp_dir().join(format!("mida-readme-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a new folder");
    let mut place = Place { folder, server: None, address: String::new() };
    let steps = session();
    assert!(steps.len() >= 4, "a session worth the name");
    for Step { command, output } in steps {
        let printed: Vec<_> = place.run(&command).iter().map(|line| constant(line)).collect();
        let told: Vec<_> = output.iter().map(|line| constant(line)).collect();
        assert_eq!(printed, told, "$ {command}");
    }
}

/// Each flag that stands in this text, without its dashes.
fn flags(text: &str) -> impl Iterator<Item = String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    text.split("--").skip(1).map(name)
}

#[test]
fn the_tables_of_flags_are_those_of_the_help() {
    for (command, title, elsewhere) in
        [("serve", "## Options", &["config"][..]), ("doctor", "## Sizing", &[])]
    {
        let section = README.split_once(title).expect(title).1.split("\n## ").next().expect("a section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `--")?.split(" | ").next());
        let mut told: BTreeSet<_> =
            rows.flat_map(|row| flags(&format!("--{row}")).collect::<Vec<_>>()).collect();
        told.extend(elsewhere.iter().map(|name| (*name).to_owned()));
        let help =
            Command::new(env!("CARGO_BIN_EXE_mida")).args([command, "--help"]).output().expect("the help");
        let help = String::from_utf8(help.stdout).expect("UTF-8");
        let known = help.lines().map(str::trim).filter(|line| line.starts_with("--"));
        let known: BTreeSet<_> = known.filter_map(|line| flags(line).next()).collect();
        assert!(told == known && known.len() > 3, "{command}: {told:?} but {known:?}");
    }
}

#[test]
fn only_keys_numbers_and_times_may_differ() {
    let key = "02".repeat(33);
    assert_eq!(constant(&format!("< {key} up 412 ms, 3 online")), "< KEY up N TIME, N online");
    assert_eq!(constant("up 1.5 s"), constant("up 20 ms"));
    assert_ne!(constant("passed"), constant("refused"));
    assert_ne!(constant("ws://127.0.0.1:7700"), constant("wss://127.0.0.1:7700"));
}
