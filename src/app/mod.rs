//! Mida as an application of the engine: keys, events, sessions, and what leaves for each client.

pub mod config;
pub mod crypto;
mod deliver;
pub mod figures;
mod hosts;
pub mod mail;
pub mod members;
mod page;
pub mod protocol;
pub mod relay;
mod seal_out;
pub mod session;

use self::{
    config::Config,
    crypto::rng::Rng,
    deliver::Rounds,
    hosts::OwnHosts,
    protocol::decode::Decoder,
    relay::{Command, FOUND, Found, Mail, Offices, Online, Relay},
    session::{Answers, Session, Sessions},
};
use crate::engine::{
    app::{About, Accept, Answer, App, FIGURES, Hold, Later, Link, Others, Reach},
    error::{Close, Refusal},
    inbox::Post,
    io::Token,
    outbox::{Form, Gather, Run, Shared},
    wire::{
        Kind, Opcode,
        upgrade::{Plain, Request},
    },
};
use std::sync::Arc;

/// The subprotocol that Mida clients offer.
pub const SUBPROTOCOL: &str = "mida";
/// Longest Host header that is remembered for saying `wrong_host`.
const HOST_BYTES: usize = 255;

/// Messages that leave in the clear, in batches.
const CLEAR: u8 = 0;
/// Messages that leave sealed.
const SEALED: u8 = 1;

/// Mida on one core.
pub struct Mida {
    config: Arc<Config>,
    decoder: Decoder,
    sessions: Sessions,
    own_hosts: OwnHosts,
    /// Host header of the upgrade that is being answered.
    dialled: String,
    rounds: Rounds,
    /// Kept from one delivery to the next.
    slots: Vec<u32>,
}

impl Mida {
    pub fn new(config: Arc<Config>, online: Online, rng: Rng) -> Self {
        Self {
            decoder: Decoder::new(&config.limits),
            sessions: Sessions::new(rng, online),
            own_hosts: OwnHosts::default(),
            config,
            dialled: String::new(),
            rounds: Rounds::default(),
            slots: Vec::new(),
        }
    }

    /// As reactor number `own` of a server: with other reactors, and perhaps a store. `unix_ms` is the Unix time
    /// when the server's time began.
    pub fn with(mut self, own: usize, offices: Offices, unix_ms: u64) -> Self {
        let own = u16::try_from(own).unwrap_or(u16::MAX);
        self.sessions.connect(Relay::new(own, offices), unix_ms);
        self
    }

    /// Connections with an accepted key.
    pub fn members(&self) -> usize {
        self.sessions.members()
    }
}

impl App for Mida {
    type Conn = Session;
    type Command = Command;

    fn turn(&mut self, now_ms: u64) {
        self.sessions.turn(now_ms, &self.config);
        self.rounds.turn();
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Result<Accept<Session>, Refusal> {
        if let Some(origin) = request.origin
            && !self.config.allows_origin(origin, request.host)
        {
            return Err(Refusal::BadOrigin);
        }
        self.dialled.clear();
        if request.host.len() <= HOST_BYTES {
            self.dialled.push_str(request.host);
            self.dialled.make_ascii_lowercase();
        }
        let offered = request.protocols().any(|protocol| protocol == SUBPROTOCOL);
        let conn = Session::new(&self.config, self.sessions.now_ms);
        Ok(Accept { conn, subprotocol: offered.then_some(SUBPROTOCOL) })
    }

    fn plain(&mut self, request: &Plain<'_>) -> Option<Answer> {
        self.config.page.then(|| page::answer(request))
    }

    fn opened(&mut self, link: &mut Link<'_, Session>) {
        let mut session = *link.conn;
        let mut out = Sealer { link, own_hosts: &mut self.own_hosts };
        self.sessions.opened(&mut session, &self.config, &self.dialled, &mut out);
        *link.conn = session;
    }

    #[inline]
    fn holds(&self, conn: &Session) -> Hold {
        self.sessions.holds(conn)
    }

    fn received(&mut self, link: &mut Link<'_, Session>, kind: Kind, payload: &mut [u8]) {
        if kind == Kind::Binary {
            return link.close(Close::BinaryRefused);
        }
        let mut session = *link.conn;
        let mut out = Sealer { link, own_hosts: &mut self.own_hosts };
        match self.decoder.decode(payload, &self.config.limits, session.batching()) {
            Ok(messages) => {
                for message in &messages {
                    self.sessions.message(&mut session, &self.config, &message, &mut out);
                    if out.is_closing() {
                        break;
                    }
                }
            }
            Err(code) => self.sessions.nonsense(&mut session, &self.config, code, &mut out),
        }
        *link.conn = session;
    }

    #[inline]
    fn deadline_ms(&self, conn: &Session) -> u64 {
        conn.due_ms()
    }

    fn timer(&mut self, link: &mut Link<'_, Session>) {
        let mut session = *link.conn;
        let mut out = Sealer { link, own_hosts: &mut self.own_hosts };
        self.sessions.timer(&mut session, &mut out);
        *link.conn = session;
    }

    fn command(&mut self, command: &mut Command) -> Reach {
        match command {
            Command::Reload(reload) => {
                self.config = reload.config.clone();
                if reload.rules || reload.keys || reload.metadata.is_some() {
                    Reach::Everyone
                } else {
                    Reach::Nobody
                }
            }
            Command::Mail(mail) => {
                self.sessions.relay.receive(std::mem::take(mail));
                Reach::Nobody
            }
            Command::Words(words) => {
                self.sessions.relay.receive(std::mem::take(words).into_iter().map(Mail::Word));
                Reach::Nobody
            }
            Command::Everyone(_) => Reach::Everyone,
            Command::Find(find) => {
                Reach::These(self.sessions.connections_of(&find.identity).take(FOUND).collect())
            }
        }
    }

    fn describe(&mut self, conn: &Session, about: &About, command: &Command) {
        if let Command::Find(find) = command {
            let found = Found { reactor: find.reactor, about: *about, is_proven: conn.is_proven() };
            // Who asked may have given up.
            let _ = find.found.send(found);
        }
    }

    fn meet(&mut self, _number: usize, ways: Vec<Arc<dyn Post<Command>>>) {
        self.sessions.relay.meet(ways);
    }

    #[inline]
    fn has_letters(&self) -> bool {
        self.sessions.relay.is_busy() || self.rounds.can_go_on()
    }

    fn deliver(&mut self, others: &mut dyn Others<Session>) {
        self.bring_all(others);
    }

    fn end_turn(&mut self, now_ms: u64) -> u64 {
        let wakes_ms = self.sessions.relay.end_turn(now_ms);
        if self.rounds.is_empty() { wakes_ms } else { now_ms }
    }

    fn figures(&self) -> [u64; FIGURES] {
        self.sessions.figures().to_array()
    }

    fn visit(&mut self, link: &mut Link<'_, Session>, command: &Command) {
        let session = *link.conn;
        let reload = match command {
            Command::Reload(reload) => reload,
            Command::Everyone(everyone) if session.is_proven() => {
                link.share(form(&session), &everyone.message);
                return everyone.tally.add();
            }
            _ => return,
        };
        if reload.keys && !self.sessions.is_welcome(&session, &self.config) {
            return link.close(Close::AuthFailed);
        }
        if let Some(metadata) = &reload.metadata {
            link.share(form(&session), metadata);
        }
        if reload.rules {
            let mut out = Sealer { link, own_hosts: &mut self.own_hosts };
            self.sessions.say_rules(&session, &self.config, &mut out);
        }
    }

    #[inline]
    fn touch(&self, conn: &Session) {
        self.sessions.touch(conn);
    }

    fn flush(&mut self, conn: &mut Session, run: &mut Run<'_>, out: &mut Gather) -> Result<(), Later> {
        let limits = &self.config.limits;
        // PROTOCOL.md section 7: the server's messages may be 1 KiB longer, sealing and batch included.
        let most_bytes = (limits.message_bytes as usize).saturating_add(1_024);
        let most = if conn.batching() { limits.batch_messages as usize } else { 1 };
        let sessions = (run.mark() == SEALED).then_some(&mut self.sessions);
        seal_out::flush(sessions, conn, run, most, most_bytes, &mut out.bytes)
    }

    fn closing(&mut self, conn: &mut Session) {
        self.sessions.closing(conn);
    }

    fn closed(&mut self, conn: Session, number: u64) {
        self.sessions.closed(conn, number);
    }
}

/// How a message to this session is queued.
fn form(session: &Session) -> Form {
    match (session.is_sealed(), session.batching()) {
        (true, _) => Form::Message(SEALED),
        (false, true) => Form::Message(CLEAR),
        (false, false) => Form::Frame,
    }
}

/// A connection's queue, as a session speaks to it.
struct Sealer<'a, 'b> {
    link: &'a mut Link<'b, Session>,
    own_hosts: &'a mut OwnHosts,
}

impl Answers for Sealer<'_, '_> {
    fn greet(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.link.encoded_frame(Opcode::Text, write);
    }

    fn say(&mut self, session: &Session, write: impl FnOnce(&mut Vec<u8>)) {
        match form(session) {
            Form::Message(mark) => self.link.message(mark, write),
            Form::Frame => self.link.encoded_frame(Opcode::Text, write),
        }
    }

    fn close(&mut self, close: Close) {
        self.link.close(close);
    }

    fn is_closing(&self) -> bool {
        self.link.is_closing()
    }

    fn count_login(&mut self) -> Result<(), u64> {
        self.link.count_login()
    }

    fn hosts<'a>(&'a mut self, config: &'a Config) -> &'a [String] {
        match &*config.hosts {
            [] => self.own_hosts.of(self.link.local_addr()),
            hosts => hosts,
        }
    }

    fn number(&self) -> u64 {
        self.link.token.number()
    }

    fn share(&mut self, session: &Session, message: &Arc<Shared>) {
        self.link.share(form(session), message);
    }

    fn token(&self) -> Token {
        self.link.token
    }
}
