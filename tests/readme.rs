//! The README's sessions, replayed: their commands are run, and what they print must be what stands there,
//! but for keys, ids, numbers and times.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const README: &str = include_str!("../README.md");
/// Where the README has the operator's address.
const ADMIN: &str = "127.0.0.1:9090";

/// A piece of a session: what one terminal shows.
struct Block {
    /// Whose it is, where there are several: behind `console` in the fence.
    terminal: String,
    steps: Vec<Step>,
}

/// What is typed and the lines that follow it.
struct Step {
    /// A command, or a line for the one that runs; none: what is shown without anything being typed.
    typed: Option<Typed>,
    output: Vec<String>,
}

enum Typed {
    Command(String),
    Line(String),
}

/// The console blocks of a section, in their order.
fn session(title: &str) -> Vec<Block> {
    let (_, from) = README.split_once(title).expect(title);
    let section = from.split("\n## ").next().expect("a section");
    let blocks = section.split("\n```console").skip(1);
    blocks
        .map(|block| {
            let (terminal, rest) = block.split_once('\n').expect("a line");
            let (text, _) = rest.split_once("\n```").expect("the block ends");
            let mut steps = vec![Step { typed: None, output: Vec::new() }];
            for line in text.lines() {
                let typed = match line.strip_prefix("$ ") {
                    Some(command) => Typed::Command(command.to_owned()),
                    None if line.starts_with('/') => Typed::Line(line.to_owned()),
                    None => {
                        steps.last_mut().expect("one").output.push(line.to_owned());
                        continue;
                    }
                };
                steps.push(Step { typed: Some(typed), output: Vec::new() });
            }
            Block { terminal: terminal.trim().to_owned(), steps }
        })
        .collect()
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
            key if key.len() >= 32 && key.bytes().all(|b| b.is_ascii_hexdigit()) => out.push_str("KEY"),
            key if c == '…' && key.len() == 12 && key.bytes().all(|b| b.is_ascii_hexdigit()) => {
                out.push_str("KEY")
            }
            number if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => out.push('N'),
            "ms" | "s" | "min" | "h" if out.ends_with("N ") => out.push_str("TIME"),
            _ => out.push_str(&word),
        }
        word.clear();
        out.push(c);
    }
    out.replace("N.N", "N").trim_end().to_owned()
}

/// Whole keys in a line.
fn keys(line: &str) -> impl Iterator<Item = String> {
    let words = line.split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 66).map(str::to_owned)
}

/// What is only told to a person at a terminal.
fn is_for_terminals(line: &str) -> bool {
    line.starts_with("connected to ws://")
}

/// A folder that goes when the test ends, with the server if it still runs.
struct Place {
    folder: PathBuf,
    server: Option<Child>,
    address: String,
    /// Of its operator, if it has one.
    admin: String,
    /// Keys that stand in the README, and those of this run.
    keys: Vec<(String, String)>,
    terminals: Vec<Terminal>,
}

/// A terminal in which a command runs that is typed to.
struct Terminal {
    name: String,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("mida-readme-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a new folder");
        let (address, admin) = (String::new(), String::new());
        Place { folder, server: None, address, admin, keys: Vec::new(), terminals: Vec::new() }
    }

    /// Runs what is typed in these blocks; what is printed must be what stands there.
    fn replay(&mut self, blocks: &[Block]) {
        for Block { terminal, steps } in blocks {
            for Step { typed, output } in steps {
                let shown = match typed {
                    Some(Typed::Command(command)) => command,
                    Some(Typed::Line(line)) => line,
                    None => terminal,
                };
                let printed = match typed {
                    Some(Typed::Command(command)) if terminal.is_empty() => self.run(command),
                    Some(Typed::Command(command)) => {
                        self.start(terminal, command);
                        self.read(terminal, output)
                    }
                    Some(Typed::Line(line)) => {
                        let line = self.with_own_keys(line);
                        writeln!(self.terminal(terminal).input, "{line}").expect("it reads");
                        self.read(terminal, output)
                    }
                    None => self.read(terminal, output),
                };
                let told: Vec<_> = output.iter().filter(|line| !is_for_terminals(line)).collect();
                let same = |lines: &[&String]| lines.iter().map(|line| constant(line)).collect::<Vec<_>>();
                assert_eq!(same(&printed.iter().collect::<Vec<_>>()), same(&told), "{shown}");
                for (told, printed) in told.iter().zip(&printed) {
                    self.keys.extend(keys(told).zip(keys(printed)));
                }
            }
        }
    }

    /// Starts what goes on beside other terminals.
    fn start(&mut self, name: &str, command: &str) {
        let command = command.replace("127.0.0.1:7700", &self.address);
        // Both streams in one, as a terminal shows them.
        let mut shell = self.shell(&format!("exec {command} 2>&1"));
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let input = child.stdin.take().expect("a pipe");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        self.terminals.push(Terminal { name: name.to_owned(), child, input, lines });
    }

    fn terminal(&mut self, name: &str) -> &mut Terminal {
        self.terminals.iter_mut().find(|terminal| terminal.name == name).expect("a terminal")
    }

    /// As many lines as there are to be.
    fn read(&mut self, name: &str, output: &[String]) -> Vec<String> {
        let lines = output.iter().filter(|line| !is_for_terminals(line)).count();
        if lines == 0 {
            return Vec::new();
        }
        self.terminal(name).lines.by_ref().take(lines).map(|line| line.expect("UTF-8")).collect()
    }

    /// A line as it has to be typed in this run, where keys are others: whole ones, and starts of 8 digits.
    fn with_own_keys(&self, line: &str) -> String {
        self.keys
            .iter()
            .fold(line.to_owned(), |line, (told, own)| line.replace(told, own).replace(&told[..8], &own[..8]))
    }

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
            let server = server.replace(ADMIN, "127.0.0.1:0");
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
            let log = std::fs::read_to_string(self.folder.join("mida.log")).expect("its log");
            let admin = log.lines().find_map(|line| line.split_once("admin on http://"));
            self.admin = admin.map(|(_, admin)| admin.to_owned()).unwrap_or_default();
            return vec![line];
        }
        if command == "kill %1" {
            let mut server = self.server.take().expect("a server");
            let killed = Command::new("kill").arg(server.id().to_string()).status().expect("kill");
            assert!(killed.success() && server.wait().expect("its end").success(), "it ends well");
            return Vec::new();
        }
        let command = command.replace("127.0.0.1:7700", &self.address).replace(ADMIN, &self.admin);
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
fn the_sessions_happen_as_they_are_told() {
    let (first, talk) = (session("## A first session"), session("## Two people talk"));
    assert!(first.len() == 1 && first[0].steps.len() > 4, "a session worth the name");
    assert!(talk.len() == 4, "they take turns");
    let mut place = Place::new("first");
    place.replay(&first);
    // The second one goes on with a key of the first.
    place.replay(&talk);
}

#[test]
fn a_backend_sends_as_it_is_told() {
    let session = session("### Send from a backend");
    assert!(session[0].steps.len() > 8, "a session worth the name");
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: no curl");
    }
    Place::new("backend").replay(&session[..1]);
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
    assert_eq!(constant("from 027d4d3cfdd2…: at 1"), "from KEY…: at N");
    assert_eq!(constant("up 1.5 s"), constant("up 20 ms"));
    assert_ne!(constant("passed"), constant("refused"));
    assert_ne!(constant("ws://127.0.0.1:7700"), constant("wss://127.0.0.1:7700"));
}
