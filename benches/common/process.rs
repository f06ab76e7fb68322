//! Processes of a bench: this program once more, pinned, and told what to do by lines.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

/// Keeps this process on one of the allowed cores, and lets it open as many files as it may.
pub fn pin(core: usize) {
    let allowed = mida::server::cores::allowed().unwrap_or_default();
    if let Some(core) = allowed.get(core).or(allowed.first()) {
        mida::server::cores::pin(*core).expect("an allowed core");
    }
    mida::server::files::raise_limit();
}

/// A process of this program that answers lines with lines, and ends with its standard input.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(args: &[&str]) -> Self {
        Self::spawn(Command::new(std::env::current_exe().expect("this program")).args(args))
    }

    /// A server of this program on this interface of the kernel, as `--io` names it.
    pub fn start_on(io: &str, args: &[&str]) -> Self {
        let this = std::env::current_exe().expect("this program");
        Self::spawn(Command::new(this).args(args).env("MIDA_IO", io))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program once more");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { input: child.stdin.take(), child, output }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("a pipe"), "{line}").expect("the process listens");
    }

    pub fn line(&mut self) -> String {
        self.output.next().expect("the process lives").expect("a line")
    }

    pub fn number(&mut self) -> u64 {
        self.line().parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// CPU nanoseconds that a thread of this process had run when it last stopped running, and with them those of its
/// core's ksoftirqd, to which the kernel leaves a part of the sending when system calls are long.
pub fn cpu_ns(thread: &str) -> u64 {
    static LEFT_TO: OnceLock<Option<String>> = OnceLock::new();
    let left = LEFT_TO.get_or_init(ksoftirqd).as_deref().map_or(0, run_ns);
    run_ns(&format!("/proc/self/task/{thread}")) + left
}

/// The same, once the thread has come to rest: it runs less than 0.1 ms in 10.
pub fn resting_cpu_ns(thread: &str) -> u64 {
    let mut before_ns = cpu_ns(thread);
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let now_ns = cpu_ns(thread);
        if now_ns < before_ns + 100_000 {
            return now_ns;
        }
        before_ns = now_ns;
    }
}

fn run_ns(task: &str) -> u64 {
    let stat = fs::read_to_string(format!("{task}/schedstat")).expect("schedstat");
    stat.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds")
}

/// That of the first core of this process, unless it is hidden, as in a container.
fn ksoftirqd() -> Option<String> {
    let name = format!("ksoftirqd/{}\n", mida::server::cores::allowed().ok()?.first()?);
    let mut tasks = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path().display().to_string());
    tasks.find(|task| fs::read_to_string(format!("{task}/comm")).is_ok_and(|comm| comm == name))
}
