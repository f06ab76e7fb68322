//! What it costs to keep messages: redb and fjall, each with two orders of keys, in groups that are on disk
//! (fsync) before the next begins.
//!
//! `cargo bench --bench store -- --messages 20000` measures, and that is the default; `--databases 0` leaves this out, `--quick` only shows that
//! everything works. Each line is a process of its own with a database of its own: messages of 200 bytes, a body in
//! base64 of which hardly anything can be compressed, go to 1,000 mailboxes in turn; then each mailbox is read oldest
//! first and what was read is deleted, in groups of the same size. Groups of one are 300 at most.
//!
//! `mailbox`: a message lies under its mailbox and its id, next to others of the same mailbox. `time`: it lies under
//! its id, which grows, so that a group is written in one place; whose it is must be known elsewhere.
//!
//! Then the store's own thread, in `--pairs` (9) with a bare loop: see `thread`. Both put `--warm` (40) groups first, of
//! which the clock sees nothing: they fill the cache of the database, so that memory and tables grow no more.

#[path = "../common/pairs.rs"]
#[allow(dead_code)]
mod pairs;
mod peers;
mod thread;

use mida::app::crypto::rng::Rng;
use pairs::Flags;
use peers::{Database, Fjall, Redb};
use std::{
    collections::VecDeque,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const MAILBOXES: usize = 1_000;
const GROUPS: [usize; 3] = [1, 64, 1_024];
/// A sender of 33 bytes, and the body.
const VALUE_BYTES: usize = 33 + 200;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    if let ["one", database, order, group, messages] = args.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        let number = |text: &str| text.parse().expect("a number");
        return one(database, order, number(group), number(messages));
    }
    let Some(flags) = Flags::of("store") else { return };
    let messages = flags.value("--messages", 20_000.0, 2_048.0) as usize;
    let pairs = flags.value("--pairs", 9.0, 1.0) as usize;
    if flags.value("--databases", 1.0, 1.0) > 0.0 {
        databases(messages);
    }
    let warm = flags.value("--warm", 40.0, 1.0) as usize;
    thread::measure(64 * messages.min(1_024), warm, pairs);
}

fn databases(messages: usize) {
    println!(
        "database order   group | put: commits/s messages/s | ack: messages/s | bytes on disk a message: stored, of all when acked | KiB resident: stored, acked"
    );
    for group in GROUPS {
        for database in ["redb", "fjall"] {
            for order in ["mailbox", "time"] {
                let most = if group == 1 { messages.min(300) } else { messages };
                let this = env::current_exe().expect("this program");
                let numbers = [group.to_string(), most.to_string()];
                let args = ["one", database, order, &numbers[0], &numbers[1]];
                assert!(Command::new(this).args(args).status().expect("this program once more").success());
            }
        }
    }
}

/// A new one on the disk.
fn folder(name: &str) -> PathBuf {
    let name = format!("store-{name}-{}", std::process::id());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Measures one database, and prints its line.
fn one(name: &str, order: &str, group: usize, messages: usize) {
    let folder = folder("bench");
    match name {
        "redb" => measure(&Redb::open(&folder), name, &folder, order, group, messages),
        _ => measure(&Fjall::open(&folder), name, &folder, order, group, messages),
    }
    let _ = fs::remove_dir_all(&folder);
}

fn measure(database: &impl Database, name: &str, folder: &Path, order: &str, group: usize, messages: usize) {
    let mut rng = Rng::from_seed([7; 32]);
    let owners: Vec<[u8; 33]> = (0..MAILBOXES).map(|_| bytes(&mut rng)).collect();
    let mut mailboxes: Vec<VecDeque<Vec<u8>>> = vec![VecDeque::new(); MAILBOXES];
    let mut made = 0;
    let mut put_s = 0.0;
    let mut commits = 0;
    while made < messages {
        let rows: Vec<_> = (made..messages.min(made + group))
            .map(|nth| {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(nth as u64 / 1_024).to_be_bytes());
                id[8..].copy_from_slice(&(nth as u64).to_be_bytes());
                let owner = nth * 7 % MAILBOXES;
                let key = if order == "time" { id.to_vec() } else { [&owners[owner][..], &id].concat() };
                mailboxes[owner].push_back(key.clone());
                (key, body(&mut rng))
            })
            .collect();
        let begun = Instant::now();
        database.put(&rows);
        put_s += begun.elapsed().as_secs_f64();
        commits += 1;
        made += rows.len();
    }
    let stored = (disk_bytes(folder) / messages as u64, resident_kib());
    let (mut acked, mut ack_s) = (0, 0.0);
    while acked < messages {
        let mut oldest = Vec::new();
        for mailbox in &mut mailboxes {
            let room = group - oldest.len();
            oldest.extend(mailbox.drain(..room.min(mailbox.len())));
        }
        let begun = Instant::now();
        let bytes = database.read_and_delete(&oldest);
        ack_s += begun.elapsed().as_secs_f64();
        assert_eq!(bytes, oldest.len() * VALUE_BYTES, "all that was put is there");
        acked += oldest.len();
    }
    println!(
        "{name:8} {order:7} {group:5} | {:6.0} {:7.0} | {:7.0} | {:5} {:9} | {} {}",
        commits as f64 / put_s,
        messages as f64 / put_s,
        messages as f64 / ack_s,
        stored.0,
        disk_bytes(folder),
        stored.1,
        resident_kib(),
    );
}

fn bytes<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

fn body(rng: &mut Rng) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut body = bytes::<VALUE_BYTES>(rng);
    body[33..].iter_mut().for_each(|byte| *byte = DIGITS[usize::from(*byte & 63)]);
    body.to_vec()
}

/// What the files of a folder take on the disk.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            if path.is_dir() {
                disk_bytes(&path)
            } else {
                fs::metadata(&path).map_or(0, |file| file.blocks() * 512)
            }
        })
        .sum()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
