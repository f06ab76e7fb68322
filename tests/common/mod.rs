//! The real binary in tests: a server that ends with its test, and other commands with their lines.

#![allow(dead_code)] // Each test file uses its part.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, LazyLock, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Nothing a test waits for takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// `mida` with some arguments. Killed, by its own process id, when dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Arc<Captured>,
}

#[derive(Default)]
struct Captured {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// Lines of standard output that were not taken before.
    pub lines: Vec<String>,
    /// All of standard error.
    pub stderr: String,
}

impl Process {
    /// A server keeps nothing, unless it is told where.
    pub fn start(arguments: &[&str]) -> Process {
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_mida")).args(arguments).args(ephemeral(arguments)))
    }

    /// Starts it with room for so many open files in each table.
    pub fn start_with_files(open_files: u32, arguments: &[&str]) -> Process {
        let script = format!("ulimit -n {open_files} && exec \"$0\" \"$@\"");
        Process::spawn(
            Command::new("sh")
                .args(["-c", &script, env!("CARGO_BIN_EXE_mida")])
                .args(arguments)
                .args(ephemeral(arguments)),
        )
    }

    pub fn spawn(command: &mut Command) -> Process {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, stdout) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).all(|line| send.send(line).is_ok()));
        let stderr = Arc::new(Captured::default());
        let (captured, mut pipe) = (stderr.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            loop {
                let read = pipe.read(&mut bytes).unwrap_or(0);
                let mut text = captured.text.lock().unwrap();
                text.0.push_str(&String::from_utf8_lossy(&bytes[..read]));
                text.1 = read == 0;
                captured.grown.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Process { child, stdin, stdout, stderr }
    }

    /// Starts it, writes all of its input, and waits for its end.
    pub fn run(arguments: &[&str], input: &str) -> Ended {
        let mut process = Process::start(arguments);
        process.write(input);
        process.wait()
    }

    /// Writes to its standard input. One that does not read any more is not told.
    pub fn write(&mut self, input: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(input.as_bytes());
        }
    }

    /// The next line of its standard output.
    pub fn line(&mut self) -> String {
        match self.stdout.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(why) => panic!("no line on stdout ({why}); stderr: {}", self.stderr()),
        }
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text.lock().unwrap().0.clone()
    }

    /// Waits until its standard error contains this; all of it so far.
    pub fn stderr_with(&self, part: &str) -> String {
        self.stderr_with_several(part, 1)
    }

    /// Waits until its standard error contains this so often.
    pub fn stderr_with_several(&self, part: &str, times: usize) -> String {
        let until = Instant::now() + PATIENCE;
        let mut text = self.stderr.text.lock().unwrap();
        while text.0.matches(part).count() < times {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!text.1 && !left.is_zero(), "no '{part}' on stderr, {times} times: {}", text.0);
            text = self.stderr.grown.wait_timeout(text, left).unwrap().0;
        }
        text.0.clone()
    }

    /// Waits for its own end alone, while others that it has started may live on with its streams.
    pub fn wait_alone(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends its standard input and waits for its end.
    pub fn wait(mut self) -> Ended {
        self.stdin = None;
        let mut lines = Vec::new();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.stdout.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; stderr: {}", self.stderr()),
            }
        }
        let code = self.child.wait().unwrap().code();
        let mut text = self.stderr.text.lock().unwrap();
        while !text.1 {
            text = self.stderr.grown.wait(text).unwrap();
        }
        let stderr = text.0.clone();
        drop(text);
        Ended { code, lines, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that listens on a port of its own. Killed when dropped.
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts one on 127.0.0.1, with these flags besides.
    pub fn start(flags: &[&str]) -> Server {
        Server::listening("127.0.0.1:0", flags)
    }

    /// Starts one on this address, and waits until it listens.
    pub fn listening(address: &str, flags: &[&str]) -> Server {
        Server::ready(Process::start(&[&["--listen", address], flags, &io()].concat()))
    }

    /// Starts one on 127.0.0.1, with room for so many open files in each table.
    pub fn start_with_files(open_files: u32, flags: &[&str]) -> Server {
        let arguments = [&["--listen", "127.0.0.1:0"], flags, &io()].concat();
        Server::ready(Process::start_with_files(open_files, &arguments))
    }

    fn ready(mut process: Process) -> Server {
        let line = process.line();
        let address = line.strip_prefix("listening on ws://").and_then(|rest| rest.parse().ok());
        let address = address.unwrap_or_else(|| panic!("its first line is '{line}'"));
        Server { process, address }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers its operator.
    pub fn admin(&self) -> SocketAddr {
        let told = self.stderr_with("ready");
        let (_, rest) = told.split_once("admin on http://").expect("a server with --admin");
        rest.lines().next().and_then(|line| line.trim().parse().ok()).expect("an address")
    }

    /// Like `ws://127.0.0.1:7700`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Waits until its standard error contains this; all of it so far.
    pub fn stderr_with(&self, part: &str) -> String {
        self.process.stderr_with(part)
    }

    /// Waits for its end, which somebody else has to bring about.
    pub fn wait(self) -> Ended {
        self.process.wait()
    }
}

/// What is to be added to these arguments so that a server leaves no directory behind; nothing for other commands.
pub fn ephemeral(arguments: &[&str]) -> Option<&'static str> {
    let is_server = arguments.first().is_none_or(|first| first.starts_with("--") || *first == "serve");
    let says_itself = ["--data", "--ephemeral", "--help", "--version"];
    let is_said = arguments.iter().any(|argument| says_itself.contains(argument));
    (is_server && !is_said).then_some("--ephemeral")
}

/// What servers run on in this run of the tests: `MIDA_IO` says it, as `--io` does.
pub fn io() -> Vec<&'static str> {
    static IO: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MIDA_IO").ok());
    IO.as_ref().map_or(Vec::new(), |io| vec!["--io", io])
}

/// Whether they run on io_uring, where sockets are no descriptors.
pub fn is_uring() -> bool {
    io().contains(&"uring")
}

/// Sockets in the rings of a task, /proc/PID/task/TID: the kernel lists them with what it tells of a ring, unless it
/// is just at work there.
pub fn ring_sockets(task: &Path) -> usize {
    let mut sockets = 0;
    for descriptor in fs::read_dir(task.join("fd")).unwrap() {
        let descriptor = descriptor.unwrap();
        if !fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]") {
            continue;
        }
        let of_ring = task.join("fdinfo").join(descriptor.file_name());
        let text = loop {
            let text = fs::read_to_string(&of_ring).unwrap();
            if text.contains("UserFiles:") {
                break text;
            }
        };
        let (_, files) = text.split_once("UserFiles:").unwrap();
        let (files, _) = files.split_once("UserBufs:").unwrap();
        sockets += files.lines().skip(1).count();
    }
    sockets
}

/// The number right behind `word`, where it stands first.
pub fn number_behind(text: &str, word: &str) -> u64 {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// A path for a file of this test, which is not there yet.
pub fn path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A new secret key in a file, and its public key.
pub fn key(name: &str) -> (String, String) {
    let file = path(name).to_str().unwrap().to_owned();
    let made = Process::run(&["keygen", "--out", &file], "");
    assert_eq!((made.code, made.lines.len()), (Some(0), 1), "{}", made.stderr);
    (file, made.lines[0].clone())
}
