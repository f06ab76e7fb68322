//! A value as the client wrote it, byte for byte: simd-json changes numbers and unescapes strings, so `body` is taken
//! from the text that it did not touch.
//!
//! No text is read for it. simd-json's first stage leaves the place of each structural: a bracket, comma or colon, or
//! the beginning of a string, number or literal. Its second stage makes the nodes of the tape. How many structurals come
//! before a node follows from the nodes alone. Each node before it has one. One more, a comma or colon, stands before
//! each node but the outermost and the first of each container; one more behind each container that ended. A container
//! that is not empty thus adds a bracket for the separator that its first node lacks, unless it is still open.

use simd_json::Node;

/// Where the values of one text are. Asked for them from front to back, it looks at each node once.
pub(super) struct Raw<'a> {
    text: &'a [u8],
    /// Offsets into `text`.
    structurals: &'a [u32],
    nodes: &'a [Node<'a>],
    /// Nodes that were looked at, and the empty containers among them.
    seen: usize,
    empty: usize,
}

impl<'a> Raw<'a> {
    /// `text` is JSON, `structurals` and `nodes` are what simd-json made of it.
    pub fn new(text: &'a [u8], structurals: &'a [u32], nodes: &'a [Node<'a>]) -> Self {
        Self { text, structurals, nodes, seen: 0, empty: 0 }
    }

    /// The value whose nodes are the `width` from `at` on, without the white space around it; `open` containers are
    /// around it. None only where something is in none, or was asked for out of order.
    pub fn value(&mut self, at: usize, width: usize, open: usize) -> Option<&'a [u8]> {
        self.see(at)?;
        let first = (2 * at + self.empty).checked_sub(open)?;
        self.see(at + width)?;
        // Its own containers have all ended, so what follows it is where another node would be, less that one's separator.
        let behind = (2 * (at + width) + self.empty).checked_sub(open + 1)?;
        let start = *self.structurals.get(first)? as usize;
        let end = *self.structurals.get(behind)? as usize;
        Some(self.text.get(start..end)?.trim_ascii_end())
    }

    /// Counts on to the node `until`.
    fn see(&mut self, until: usize) -> Option<()> {
        let nodes = self.nodes.get(self.seen..until)?;
        self.empty += nodes.iter().filter(|node| is_empty(node)).count();
        self.seen = until;
        Some(())
    }
}

fn is_empty(node: &Node<'_>) -> bool {
    matches!(node, Node::Object { len: 0, .. } | Node::Array { len: 0, .. })
}

#[cfg(test)]
mod tests;
