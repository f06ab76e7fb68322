//! A value as the client wrote it, byte for byte: simd-json changes numbers and unescapes strings, so `body` is taken
//! from the text that it did not touch.
//!
//! No text is read for it. simd-json's first stage leaves the place of each structural: a bracket, comma or colon, or
//! the beginning of a string, number or literal. Its second stage makes the nodes of the tape. How many structurals come
//! before a node follows from the nodes alone. Each node before it has one. One more, a comma or colon, stands before
//! each node but the outermost and the first of each container; one more behind each container that ended. A container
//! that is not empty thus adds a bracket for the separator that its first node lacks, unless it is still open.

use simd_json::Node;

/// One text, and what simd-json made of it.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub text: &'a [u8],
    /// Offsets into `text`.
    pub structurals: &'a [u32],
    pub nodes: &'a [Node<'a>],
}

/// Nodes of a text that were looked at, and the empty containers among them: none is looked at twice.
#[derive(Default)]
pub(super) struct Seen {
    nodes: usize,
    empty: usize,
}

impl<'a> Raw<'a> {
    /// The value whose nodes are the `width` from `at` on, without the white space around it; `open` containers are
    /// around it. None only where it is in none, or is asked for out of order: `seen` goes from front to back.
    pub fn value(self, at: usize, width: usize, open: usize, seen: &mut Seen) -> Option<&'a [u8]> {
        seen.until(self.nodes, at)?;
        let first = (2 * at + seen.empty).checked_sub(open)?;
        seen.until(self.nodes, at + width)?;
        // Its own containers have all ended, so what follows it is where another node would be, less that one's separator.
        let behind = (2 * (at + width) + seen.empty).checked_sub(open + 1)?;
        let start = *self.structurals.get(first)? as usize;
        let end = *self.structurals.get(behind)? as usize;
        Some(self.text.get(start..end)?.trim_ascii_end())
    }
}

impl Seen {
    fn until(&mut self, nodes: &[Node<'_>], at: usize) -> Option<()> {
        let new = nodes.get(self.nodes..at)?;
        self.empty += new.iter().filter(|node| is_empty(node)).count();
        self.nodes = at;
        Some(())
    }
}

fn is_empty(node: &Node<'_>) -> bool {
    matches!(node, Node::Object { len: 0, .. } | Node::Array { len: 0, .. })
}

#[cfg(test)]
mod tests;
