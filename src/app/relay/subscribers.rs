//! Who on this reactor has joined which topic.

use crate::engine::chunks::is_oversized;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Topics of one connection.
pub const TOPICS_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Subscribers {
    by_topic: HashMap<Arc<str>, HashSet<u32>>,
    by_slot: HashMap<u32, Vec<Arc<str>>>,
}

/// It has [`TOPICS_MAX`] already.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Subscribers {
    /// The connection in this slot joins. Returns the topic if nobody here had joined it before.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn join(&mut self, slot: u32, topic: &str) -> Result<Option<Arc<str>>, TooMany> {
        if let Some(own) = self.by_slot.get(&slot) {
            if own.iter().any(|other| **other == *topic) {
                return Ok(None);
            }
            if own.len() >= TOPICS_MAX {
                return Err(TooMany);
            }
        }
        let known = self.by_topic.get_key_value(topic).map(|(topic, _)| topic.clone());
        let is_new = known.is_none();
        let topic = known.unwrap_or_else(|| topic.into());
        self.by_slot.entry(slot).or_default().push(topic.clone());
        self.by_topic.entry(topic.clone()).or_default().insert(slot);
        Ok(is_new.then_some(topic))
    }

    /// It leaves. Returns the topic if it was the last here.
    pub fn leave(&mut self, slot: u32, topic: &str) -> Option<Arc<str>> {
        let own = self.by_slot.get_mut(&slot)?;
        let at = own.iter().position(|other| **other == *topic)?;
        let topic = own.swap_remove(at);
        if own.is_empty() {
            self.forget(slot);
        }
        self.drop_from(slot, &topic).then_some(topic)
    }

    /// It is gone. Returns the topics that it was the last of here.
    pub fn gone(&mut self, slot: u32) -> Vec<Arc<str>> {
        if self.by_slot.is_empty() {
            return Vec::new();
        }
        let mut own = self.forget(slot);
        own.retain(|topic| self.drop_from(slot, topic));
        own
    }

    /// The slots of those who have joined, in no order.
    pub fn of(&self, topic: &str) -> impl Iterator<Item = u32> {
        self.by_topic.get(topic).into_iter().flatten().copied()
    }

    pub fn has(&self, slot: u32, topic: &str) -> bool {
        self.by_topic.get(topic).is_some_and(|slots| slots.contains(&slot))
    }

    /// Topics that somebody here has joined, and connections that have joined any.
    pub fn len(&self) -> (usize, usize) {
        (self.by_topic.len(), self.by_slot.len())
    }

    fn forget(&mut self, slot: u32) -> Vec<Arc<str>> {
        let own = self.by_slot.remove(&slot).unwrap_or_default();
        if is_oversized(self.by_slot.len(), self.by_slot.capacity()) {
            self.by_slot.shrink_to(2 * self.by_slot.len());
        }
        own
    }

    /// Whether that was the last.
    fn drop_from(&mut self, slot: u32, topic: &Arc<str>) -> bool {
        let Some(slots) = self.by_topic.get_mut(topic) else { return false };
        slots.remove(&slot);
        if !slots.is_empty() {
            if is_oversized(slots.len(), slots.capacity()) {
                slots.shrink_to(2 * slots.len());
            }
            return false;
        }
        self.by_topic.remove(topic);
        if is_oversized(self.by_topic.len(), self.by_topic.capacity()) {
            self.by_topic.shrink_to(2 * self.by_topic.len());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_are_told_and_nothing_stays() {
        let mut subscribers = Subscribers::default();
        assert_eq!(subscribers.join(1, "a"), Ok(Some("a".into())));
        assert_eq!(subscribers.join(1, "a"), Ok(None));
        assert_eq!(subscribers.join(2, "a"), Ok(None));
        assert_eq!(subscribers.leave(3, "a"), None);
        assert_eq!(subscribers.leave(1, "b"), None);
        assert_eq!(subscribers.leave(1, "a"), None);
        assert!(subscribers.has(2, "a") && !subscribers.has(1, "a"));
        assert_eq!(subscribers.leave(2, "a"), Some("a".into()));
        assert_eq!(subscribers.len(), (0, 0));
        for n in 0..TOPICS_MAX {
            assert_eq!(subscribers.join(7, &n.to_string()), Ok(Some(n.to_string().into())));
        }
        assert_eq!(subscribers.join(7, "one more"), Err(TooMany));
        assert_eq!(subscribers.join(7, "3"), Ok(None));
        subscribers.join(8, "3").unwrap();
        let mut last = subscribers.gone(7);
        last.sort();
        assert_eq!((last.len(), last.iter().any(|topic| **topic == *"3")), (TOPICS_MAX - 1, false));
        assert_eq!(subscribers.of("3").collect::<Vec<_>>(), [8]);
        assert_eq!(subscribers.gone(8), ["3".into()]);
        assert_eq!((subscribers.len(), subscribers.gone(8).len()), ((0, 0), 0));
    }
}
