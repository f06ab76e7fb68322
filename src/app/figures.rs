//! What Mida counts on one core, and how that is laid out for who watches the server.

use super::mail::{Outcome, Refused};
use crate::engine::app::FIGURES;

macro_rules! figures {
    ($( $(#[$doc:meta])* $name:ident; )*) => {
        /// The figures of one core.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Figures { $( $(#[$doc])* pub $name: u64, )* }

        const _: () = assert!([$( stringify!($name), )*].len() <= FIGURES);

        impl Figures {
            /// As [`App::figures`](crate::engine::app::App::figures) tells them.
            pub fn to_array(self) -> [u64; FIGURES] {
                let mut figures = [0; FIGURES];
                for (place, figure) in figures.iter_mut().zip([$( self.$name, )*]) {
                    *place = figure;
                }
                figures
            }

            pub fn from_array(figures: &[u64; FIGURES]) -> Self {
                let mut next = figures.iter().copied();
                Self { $( $name: next.next().unwrap_or(0), )* }
            }
        }
    };
}

figures! {
    /// Messages of clients, those in batches one by one; what was no message counts too.
    events;
    /// Messages or batches that were sealed.
    seals;
    /// Sealing epochs that were begun: an ephemeral key and an ECDH each.
    derivations;
    /// Signatures that were verified, each host and digest that was tried one by one.
    verifications;
    strikes;
    /// Connections with a proven key.
    members;
    /// Connections that are sealed to.
    sealed;
    /// Different keys that connections are found by.
    keys;
    /// Open challenges.
    challenges;
    /// Connections with strikes.
    struck;
    /// Connections of which the host that they dialled is kept.
    kept_hosts;
    /// Recipients of messages that were not stored; a topic is one.
    routed;
    /// Recipients of messages that the store was asked to keep.
    stored;
    /// Receipts of this core's senders.
    delivered;
    told_stored;
    refused_offline;
    refused_mailbox_full;
    refused_store_full;
    refused_id_reused;
    refused_forbidden;
    /// Connections with stored messages in flight, or behind.
    windows;
    /// Recipients of this core's messages without an answer, and the bytes of those messages.
    on_the_way;
    on_the_way_bytes;
    /// Topics that somebody here has joined.
    topics;
}

impl Figures {
    /// A sender is told this.
    pub fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Stored => &mut self.told_stored,
            Outcome::Delivered => &mut self.delivered,
            Outcome::Refused(Refused::Offline) => &mut self.refused_offline,
            Outcome::Refused(Refused::MailboxFull) => &mut self.refused_mailbox_full,
            Outcome::Refused(Refused::StoreFull) => &mut self.refused_store_full,
            Outcome::Refused(Refused::IdReused) => &mut self.refused_id_reused,
            Outcome::Refused(Refused::Forbidden) => &mut self.refused_forbidden,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_back() {
        let figures = Figures { events: 1, keys: 2, kept_hosts: 3, ..Figures::default() };
        assert_eq!(Figures::from_array(&figures.to_array()), figures);
    }
}
