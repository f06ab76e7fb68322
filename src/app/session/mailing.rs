//! Messages between keys: what a session may send, and what it is brought (PROTOCOL.md, the extension `msg`).

use super::{
    Answers, Session, Sessions,
    repeats::{Known, Look},
    windows::{Offer, Wanted},
};
use crate::{
    app::{
        config::{Config, Permissions},
        crypto::{hex, key::Identity},
        mail::{self, At, From, Job, MessageId, Outcome, Receipt, Recipient, Refused},
        protocol::{
            encode::{self, Message},
            event::{ErrorCode, Event, Ids, Publish, Send},
        },
        relay::{Kind, Ticket},
    },
    engine::{outbox::Shared, wire::Opcode},
};
use std::sync::Arc;

/// Places in [`Sessions::checked`].
const CHECKED: usize = 256;

impl Sessions {
    /// An event of the extension.
    ///
    /// # Errors
    /// What is wrong with all of it; then nothing came of it.
    pub(super) fn mail(
        &mut self,
        session: &Session,
        config: &Config,
        event: &Event<'_>,
        id: Option<&str>,
        out: &mut impl Answers,
    ) -> Result<(), ErrorCode> {
        if !config.has_messages() {
            return Err(ErrorCode::UnknownEvent);
        }
        let may = config.permissions(session.is_proven());
        let need = |permission| if may.has(permission) { Ok(()) } else { Err(ErrorCode::Forbidden) };
        let from = self.identity(session).filter(|_| session.is_proven()).ok_or(ErrorCode::Forbidden);
        match event {
            Event::Send(send) => {
                need(Permissions::SEND)?;
                self.send(session, config, from?, send, id.ok_or(ErrorCode::BadData)?, out)
            }
            Event::Publish(publish) => {
                need(Permissions::PUBLISH)?;
                self.publish(session, config, from?, publish, id, out);
                Ok(())
            }
            Event::Ack(ids) => {
                self.ack(from?, *ids, out);
                Ok(())
            }
            Event::Join(topic) => {
                need(Permissions::JOIN)?;
                let joined = self.subscribers.join(out.token().index, topic);
                if let Some(first) = joined.map_err(|_| ErrorCode::Forbidden)? {
                    self.relay.join(first);
                }
                Ok(())
            }
            Event::Leave(topic) => {
                need(Permissions::JOIN)?;
                if let Some(last) = self.subscribers.leave(out.token().index, topic) {
                    self.relay.part(last);
                }
                Ok(())
            }
            _ => Err(ErrorCode::UnknownEvent),
        }
    }

    fn send(
        &mut self,
        session: &Session,
        config: &Config,
        identity: Identity,
        send: &Send<'_>,
        re: &str,
        out: &mut impl Answers,
    ) -> Result<(), ErrorCode> {
        let mut to: Vec<Identity> = Vec::with_capacity(send.to.len());
        for text in send.to.iter() {
            let key = self.key(text).ok_or(ErrorCode::BadKey)?;
            if !to.contains(&key) {
                to.push(key);
            }
        }
        let keeps = send.live || self.relay.has_store();
        to.retain(|key| {
            let is_welcome = keeps && config.admits(key);
            if !is_welcome {
                self.say_refused(session, re, Recipient::Key(*key), Refused::Forbidden, out);
            }
            is_welcome
        });
        if to.is_empty() {
            return Ok(());
        }
        let at = At { reactor: self.relay.own(), token: out.token() };
        let from = From::Member { identity, at };
        if !send.live {
            self.counts.stored += to.len() as u64;
            self.relay.credits.take_stored(at.token.number(), re, to.len(), send.body.len() as u64);
            let (re, to, body) = (re.into(), to.into(), send.body.into());
            self.relay.ask(Job::Send(Arc::new(mail::Send::new(from, re, to, body))));
            return Ok(());
        }
        let id = self.message_id();
        let number = at.token.number();
        let mark = match self.repeats.look(number, re, (&to, None, send.body), id, self.now_ms) {
            Look::New(mark) => mark,
            Look::Same(known) => {
                let to = to.into_iter().map(Recipient::Key);
                self.say_again(session, config, re, to, &known, out);
                return Ok(());
            }
            Look::Other => {
                for key in to {
                    self.say_refused(session, re, Recipient::Key(key), Refused::IdReused, out);
                }
                return Ok(());
            }
        };
        self.counts.routed += to.len() as u64;
        let message = self.encode(id, &identity, None, send.body);
        for (place, key) in (0..).zip(to) {
            // Whoever is not here is nowhere.
            if self.relay.is_alone() && config.presence && self.members.of(&key).next().is_none() {
                self.repeats.answer(number, mark, place, false);
                self.say_refused(session, re, Recipient::Key(key), Refused::Offline, out);
                continue;
            }
            let (from, to) = (from.clone(), Recipient::Key(key));
            let ticket = Ticket::passing(from, Some(re.into()), to, id, message.clone());
            self.relay.route(ticket.marked(mark, place));
        }
        Ok(())
    }

    fn publish(
        &mut self,
        session: &Session,
        config: &Config,
        identity: Identity,
        publish: &Publish<'_>,
        re: Option<&str>,
        out: &mut impl Answers,
    ) {
        let topic: Arc<str> = publish.topic.into();
        let (id, number) = (self.message_id(), out.token().number());
        let mut mark = 0;
        if let Some(re) = re {
            let content = (&[][..], Some(publish.topic), publish.body);
            match self.repeats.look(number, re, content, id, self.now_ms) {
                Look::New(new) => mark = new,
                Look::Same(known) => {
                    return self.say_again(session, config, re, [Recipient::Topic(topic)], &known, out);
                }
                Look::Other => {
                    return self.say_refused(session, re, Recipient::Topic(topic), Refused::IdReused, out);
                }
            }
        }
        self.counts.routed += 1;
        if self.relay.is_alone() && config.presence && self.subscribers.of(&topic).next().is_none() {
            if let Some(re) = re {
                self.repeats.answer(number, mark, 0, false);
                self.say_refused(session, re, Recipient::Topic(topic), Refused::Offline, out);
            }
            return;
        }
        let message = self.encode(id, &identity, Some(&topic), publish.body);
        let from = From::Member { identity, at: At { reactor: self.relay.own(), token: out.token() } };
        let ticket = Ticket::passing(from, re.map(Box::from), Recipient::Topic(topic), id, message);
        self.relay.route(ticket.marked(mark, 0));
    }

    fn ack(&mut self, identity: Identity, ids: Ids<'_>, out: &mut impl Answers) {
        if !self.relay.has_store() {
            return;
        }
        let ids: Box<[MessageId]> = ids.iter().filter_map(MessageId::parse).collect();
        if ids.is_empty() {
            return;
        }
        let wanted = self.windows.acked(out.token().index, &ids);
        self.relay.ask(Job::Ack { identity, ids });
        self.fetch(identity, wanted, out);
    }

    /// A message for this connection; whether it takes it.
    pub fn bring(&mut self, session: &Session, ticket: &Ticket, out: &mut impl Answers) -> bool {
        let is_key = matches!(ticket.receipt.to, Recipient::Key(_));
        if is_key && !session.is_proven() {
            return false;
        }
        if ticket.kind == Kind::Stored {
            let id = ticket.receipt.id.unwrap_or(MessageId::FIRST);
            match self.windows.offer(out.token().index, id, ticket.message.payload().len()) {
                Offer::Taken => {}
                Offer::Known => return true,
                Offer::Later => return false,
            }
        }
        out.share(session, &ticket.message);
        true
    }

    /// What its mailbox had.
    pub fn backlog(
        &mut self,
        session: &Session,
        messages: &[(MessageId, Arc<Shared>)],
        more: bool,
        out: &mut impl Answers,
    ) {
        let sizes: Vec<_> = messages.iter().map(|(id, message)| (*id, message.payload().len())).collect();
        let (known, sent, wanted) = self.windows.fill(out.token().index, &sizes, more);
        for (_, message) in messages.iter().skip(known).take(sent) {
            out.share(session, message);
        }
        if let Some(identity) = self.identity(session) {
            self.fetch(identity, wanted, out);
        }
    }

    /// These messages of its key were acked, on whichever connection.
    pub fn freed(&mut self, session: &Session, ids: &[MessageId], out: &mut impl Answers) {
        let wanted = self.windows.acked(out.token().index, ids);
        if let Some(identity) = self.identity(session) {
            self.fetch(identity, wanted, out);
        }
    }

    /// A message of this reactor's sender has been brought everywhere: the receipt, if it wants one.
    pub fn done(&mut self, ticket: Arc<Ticket>, config: &Config) -> Option<Receipt> {
        if let From::Member { at, .. } = &ticket.from {
            match ticket.kind {
                Kind::Passing => {
                    self.relay.credits.give_back(1, ticket.bytes());
                    if ticket.is_asked {
                        let (mark, place) = ticket.mark;
                        let delivered = ticket.outcome(true) == Outcome::Delivered;
                        self.repeats.answer(at.token.number(), mark, place, delivered);
                    }
                }
                Kind::Stored => {
                    self.relay.credits.give_back_stored(at.token.number(), &ticket.receipt.re);
                }
            }
        }
        let is_asked = ticket.is_asked;
        let receipt = Ticket::into_receipt(ticket, config.presence);
        self.counts.count(receipt.outcome);
        is_asked.then_some(receipt)
    }

    /// The store refuses a message of this reactor's sender, or knows it.
    pub fn answered(&mut self, at: At, receipt: &Receipt) {
        self.relay.credits.give_back_stored(at.token.number(), &receipt.re);
        self.counts.count(receipt.outcome);
    }

    pub fn say_receipt(&self, session: &Session, receipt: &Receipt, out: &mut impl Answers) {
        out.say(session, |text| encode::receipt(text, receipt));
    }

    /// Its mailbox, from the oldest message on.
    pub(super) fn open_mailbox(&mut self, identity: Identity, out: &mut impl Answers) {
        if self.relay.has_store() {
            let wanted = self.windows.open(out.token().index);
            self.fetch(identity, Some(wanted), out);
        }
    }

    pub(super) fn identity(&self, session: &Session) -> Option<Identity> {
        Some(self.members.get(session.handle()?)?.identity)
    }

    fn fetch(&mut self, identity: Identity, wanted: Option<Wanted>, out: &impl Answers) {
        let Some(Wanted { after, messages, bytes }) = wanted else { return };
        let at = At { reactor: self.relay.own(), token: out.token() };
        self.relay.ask(Job::Fetch { at, identity, after, messages, bytes });
    }

    fn say_refused(
        &mut self,
        session: &Session,
        re: &str,
        to: Recipient,
        refused: Refused,
        out: &mut impl Answers,
    ) {
        let receipt = Receipt { re: re.into(), to, id: None, outcome: Outcome::Refused(refused) };
        self.counts.count(receipt.outcome);
        self.say_receipt(session, &receipt, out);
    }

    /// The receipts of a message that was sent before, as far as they were said.
    fn say_again(
        &mut self,
        session: &Session,
        config: &Config,
        re: &str,
        to: impl IntoIterator<Item = Recipient>,
        known: &Known,
        out: &mut impl Answers,
    ) {
        for (place, to) in (0..).zip(to) {
            let outcome = match known.delivered(place) {
                None => continue,
                Some(_) if !config.presence => Outcome::Stored,
                Some(true) => Outcome::Delivered,
                Some(false) => Outcome::Refused(Refused::Offline),
            };
            let id = Some(known.message).filter(|_| !matches!(outcome, Outcome::Refused(_)));
            self.say_receipt(session, &Receipt { re: re.into(), to, id, outcome }, out);
        }
    }

    /// A fresh id for a message that is not stored.
    fn message_id(&mut self) -> MessageId {
        let ts_ms = self.unix_ms + self.now_ms;
        let mut id = [0; 16];
        id[..6].copy_from_slice(&ts_ms.to_be_bytes()[2..]);
        self.rng.fill(&mut id[6..]);
        MessageId(id)
    }

    /// Event 0x82, for whoever gets it.
    fn encode(&mut self, id: MessageId, from: &Identity, topic: Option<&str>, body: &[u8]) -> Arc<Shared> {
        let ts_ms = self.unix_ms + self.now_ms;
        let message = Message { id, from: Some(from), topic, ts_ms, body };
        Shared::new(Opcode::Text, |text| encode::message(text, &message))
    }

    /// The key that a client names. One that is connected here, or was checked lately, need not be checked.
    fn key(&mut self, text: &str) -> Option<Identity> {
        let mut bytes = [0; 33];
        if text.len() != 66 {
            return Identity::parse_hex(text.as_bytes()).ok().map(|(identity, _)| identity);
        }
        hex::decode(text.as_bytes(), &mut bytes).ok()?;
        if let Some(known) = self.members.known(&bytes) {
            return Some(known);
        }
        if self.checked.is_empty() {
            self.checked.resize(CHECKED, None);
        }
        let place = self.checked.get_mut(usize::from(bytes[32]) % CHECKED)?;
        if let Some(known) = place.filter(|known| *known.as_bytes() == bytes) {
            return Some(known);
        }
        let (identity, _) = Identity::from_bytes(bytes).ok()?;
        *place = Some(identity);
        Some(identity)
    }
}
