//! Fields of files in /proc.

/// What stands behind `start` on the first line that begins so.
pub fn behind<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

/// The bytes of a field like `MemFree:`, which is told in kB and means KiB (proc(5)).
pub fn field_bytes(text: &str, name: &str) -> Option<u64> {
    behind(text, name)?.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}
