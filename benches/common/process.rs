//! Processes of a bench: this program once more, pinned, and told what to do by lines.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
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

/// CPU nanoseconds that a thread of this process had run when it last stopped running.
pub fn thread_cpu_ns(thread: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("schedstat");
    stat.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds")
}

/// The same, once the thread has come to rest: it runs less than 0.1 ms in 10.
pub fn resting_cpu_ns(thread: &str) -> u64 {
    let mut before_ns = thread_cpu_ns(thread);
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let now_ns = thread_cpu_ns(thread);
        if now_ns < before_ns + 100_000 {
            return now_ns;
        }
        before_ns = now_ns;
    }
}
