//! The life of a connection: the socket, standard input and signals, whichever comes first.

mod talk;

use self::talk::Rules;
use super::{
    farewell::Farewell,
    inbound::{Broken, Event, Inbound},
    inbox::Inbox,
    known::Known,
    login::Login,
    output::{Output, remark},
    post::{JOIN, LEAVE, Post},
    secret,
    signals::Signals,
    typed::{HELP, Lines, Typed},
};
use mida::app::{
    crypto::{key::SecretKey, rng::Rng},
    protocol::event::RULES,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    io::{self, IsTerminal},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tungstenite::{
    Error, Message, WebSocket,
    error::ProtocolError,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// From the upgrade to the rules.
const RULES_WAIT: Duration = Duration::from_secs(10);
/// From the end of input to the answer of the last ping.
const ANSWERS_WAIT: Duration = Duration::from_secs(30);
/// After that, for each of the messages that the login told of: another device may have taken them.
const BACKLOG_WAIT: Duration = Duration::from_secs(5);
/// From our close frame to the server's.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// Messages read before signals and input are looked at again.
const MESSAGES: usize = 64;
/// What the ping behind the last message carries.
const LAST: &[u8] = b"last";

/// How it ended, if not by a wish of the user.
pub enum End {
    /// As the user wanted.
    Done,
    /// The server closed, or the connection broke; that has been shown.
    Closed,
    /// What the server sends cannot be believed.
    Broken(Broken),
    /// Anything else; one line.
    Failed(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Talking,
    /// Input has ended, and all that was asked is to be answered first.
    Emptying {
        until: Instant,
        /// The ping behind the last message is answered; receipts may still come.
        answered: bool,
    },
    /// All is answered, and what waited for this key is still to come.
    Fetching {
        until: Instant,
    },
    /// Our close frame is sent.
    Closing {
        until: Instant,
    },
}

pub struct Session {
    socket: WebSocket<TcpStream>,
    /// As it was dialled: `URL.host`.
    host: String,
    output: Output,
    signals: Signals,
    rng: Rng,
    inbound: Inbound,
    lines: Lines,
    login: Login,
    known: Known,
    inbox: Inbox,
    post: Post,
    rules: Rules,
    /// A login has passed, and the rules that come next say what it may do.
    rules_to_come: bool,
    /// The user was told the own key.
    named: bool,
    /// Something that was typed could not be done.
    refused_input: bool,
    /// There is a key from the start: logs in by itself, and is over if that fails.
    automatic: bool,
    phase: Phase,
    rules_until: Instant,
    /// The kernel did not take all that is to be sent.
    unsent: bool,
    /// There may be more to read than was read.
    unread: bool,
    /// Nothing can be sent any more; what was received may still be read.
    mute: bool,
}

impl Session {
    pub fn new(
        socket: WebSocket<TcpStream>,
        host: String,
        output: Output,
        secret: Option<SecretKey>,
        signals: Signals,
        rng: Rng,
        keeps: bool,
    ) -> Session {
        Session {
            socket,
            host,
            output,
            signals,
            rng,
            refused_input: false,
            automatic: secret.is_some(),
            inbound: Inbound::new(secret),
            lines: Lines::default(),
            login: Login::None,
            known: Known::default(),
            inbox: Inbox::new(keeps),
            post: Post::default(),
            rules: Rules::default(),
            rules_to_come: false,
            named: false,
            phase: Phase::Talking,
            rules_until: Instant::now() + RULES_WAIT,
            unsent: false,
            // The rules may have come along with the upgrade.
            unread: true,
            mute: false,
        }
    }

    /// Whether a login was tried and did not pass.
    pub fn login_failed(&self) -> bool {
        self.login == Login::Failed
    }

    /// Whether a line that was typed could not be sent or done.
    pub fn refused_input(&self) -> bool {
        self.refused_input
    }

    /// Runs to its end; a connection that cannot go on is told so.
    pub fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.turn() {
                if !matches!(end, End::Closed) {
                    self.close();
                }
                return end;
            }
        }
    }

    fn turn(&mut self) -> Result<(), End> {
        self.take_typed()?;
        self.flush();
        let typing = self.takes_input() && !self.lines.has_ended();
        let ready = self.wait(typing)?;
        if self.signals.came() && !matches!(self.phase, Phase::Closing { .. }) {
            if io::stderr().is_terminal() {
                // The terminal has shown ^C.
                remark("");
            }
            self.start_closing();
        }
        if ready.socket || self.unread {
            self.read()?;
            self.ack();
            self.end_when_done();
        }
        if ready.input {
            self.lines.fill().map_err(|error| End::Failed(format!("cannot read what is typed: {error}")))?;
        }
        self.look_at_the_clock()
    }

    /// Input waits for the rules and for the end of a login with its rules, so that what it asks is asked in that
    /// state.
    fn takes_input(&self) -> bool {
        let decided = self.inbound.has_rules() && !self.login.is_under_way() && !self.rules_to_come;
        self.phase == Phase::Talking && decided && !self.unsent
    }

    fn take_typed(&mut self) -> Result<(), End> {
        while self.takes_input() {
            let Some(typed) = self.lines.next() else {
                if self.lines.has_ended() {
                    let until = Instant::now() + ANSWERS_WAIT;
                    self.phase = Phase::Emptying { until, answered: false };
                    self.send(Message::Ping(LAST.into()));
                }
                break;
            };
            match typed {
                Typed::Nothing => {}
                Typed::Json(json) => {
                    self.post.typed(&json);
                    self.send(Message::text(json));
                }
                Typed::Send { to, text } => self.send_to_key(&to, &text)?,
                Typed::Publish { topic, text } => self.publish(&topic, &text)?,
                Typed::Join(topic) => self.topic(JOIN, &topic)?,
                Typed::Leave(topic) => self.topic(LEAVE, &topic)?,
                Typed::Inbox => {
                    self.output.inbox(&self.inbox, &self.known, unix_ms()).map_err(unwritable)?;
                }
                Typed::Metadata => self.send(Message::text(r#"{"t":1}"#)),
                Typed::Login(file) => self.log_in_with(&file),
                Typed::Quit => self.start_closing(),
                Typed::Help => remark(HELP.trim_end()),
                Typed::Complaint(complaint) => self.complain(&complaint),
            }
        }
        Ok(())
    }

    /// What was shown may be forgotten by the server.
    fn ack(&mut self) {
        while !matches!(self.phase, Phase::Closing { .. })
            && let Some(ack) = self.inbox.ack()
        {
            self.send(Message::text(ack));
        }
    }

    /// Input has ended: closes once there is nothing more to wait for.
    fn end_when_done(&mut self) {
        if matches!(self.phase, Phase::Emptying { answered: true, .. }) && self.post.is_done() {
            self.phase = Phase::Fetching { until: Instant::now() + BACKLOG_WAIT };
        }
        if matches!(self.phase, Phase::Fetching { .. }) && self.inbox.to_come() == 0 {
            self.start_closing();
        }
    }

    fn log_in_with(&mut self, file: &Path) {
        if self.inbound.is_sealed() {
            return self.complain("one login a connection: connect again for another");
        }
        match secret::read(file) {
            Ok((secret, warning)) => {
                if let Some(warning) = warning {
                    remark(&format!("mida: {warning}"));
                }
                self.inbound.secret = Some(secret);
                self.start_login();
            }
            Err(problem) => self.complain(&problem),
        }
    }

    fn complain(&mut self, complaint: &str) {
        self.refused_input = true;
        remark(&format!("mida: {complaint}"));
    }

    fn start_login(&mut self) {
        let Some(secret) = &self.inbound.secret else { return };
        let identity = secret.identity().to_string();
        remark(&format!("> auth       as {identity}"));
        self.known.set_own(identity);
        let message = self.login.start(secret);
        self.send(Message::text(message));
    }

    /// Queues a message; the turn flushes it.
    fn send(&mut self, message: Message) {
        let sent = self.socket.write(message);
        self.sent(sent);
    }

    fn flush(&mut self) {
        if !self.mute {
            let flushed = self.socket.flush();
            self.unsent = false;
            self.sent(flushed);
        }
    }

    fn sent(&mut self, sent: Result<(), Error>) {
        match sent {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => self.unsent = true,
            // Why is read from the socket: it may hold the server's close frame.
            Err(_) => self.mute = true,
        }
    }

    fn close(&mut self) {
        let closed = self.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
        self.sent(closed);
    }

    fn start_closing(&mut self) {
        self.close();
        self.phase = Phase::Closing { until: Instant::now() + CLOSE_WAIT };
    }

    fn read(&mut self) -> Result<(), End> {
        self.unread = false;
        for _ in 0..MESSAGES {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let events = self.inbound.clear(&text).map_err(End::Broken)?;
                    self.hear(&events)?;
                }
                Ok(Message::Binary(message)) => {
                    let text = self.inbound.open(&message).map_err(End::Broken)?;
                    let events = self.inbound.opened(&text).map_err(End::Broken)?;
                    self.hear(&events)?;
                }
                Ok(Message::Pong(payload)) => {
                    if let Phase::Emptying { answered, .. } = &mut self.phase
                        && payload == LAST
                    {
                        *answered = true;
                    }
                }
                Ok(Message::Close(frame)) => {
                    // The answer to it is queued.
                    self.flush();
                    return Err(self.closed(&Farewell::from_frame(frame)));
                }
                Ok(Message::Ping(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(
                    Error::Io(_)
                    | Error::ConnectionClosed
                    | Error::AlreadyClosed
                    | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                ) => return Err(self.closed(&Farewell::lost())),
                Err(error) => {
                    return Err(End::Failed(format!("the server breaks WebSocket's rules: {error}")));
                }
            }
        }
        self.unread = true;
        Ok(())
    }

    fn hear(&mut self, events: &[Event<'_>]) -> Result<(), End> {
        for event in events {
            if !self.show(event)? {
                continue;
            }
            if let Some(secret) = &self.inbound.secret {
                let step = self.login.step(event, secret, &self.host, &mut self.rng);
                if let Some(line) = step.remark {
                    remark(&line);
                }
                if let Some(message) = step.message {
                    self.send(Message::text(message));
                }
            }
            if event.t == RULES && self.automatic && self.login == Login::None && self.phase == Phase::Talking
            {
                self.start_login();
            }
            if self.automatic && self.login == Login::Failed && self.phase == Phase::Talking {
                self.start_closing();
            }
        }
        Ok(())
    }

    fn closed(&self, farewell: &Farewell) -> End {
        let by_user = matches!(self.phase, Phase::Closing { .. });
        match self.output.closed(farewell, !by_user) {
            Err(error) => unwritable(error),
            Ok(()) if by_user => End::Done,
            Ok(()) => End::Closed,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Emptying { until, .. } | Phase::Fetching { until } | Phase::Closing { until } => {
                Some(until)
            }
            Phase::Talking => (!self.inbound.has_rules()).then_some(self.rules_until),
        }
    }

    fn look_at_the_clock(&mut self) -> Result<(), End> {
        if self.deadline().is_none_or(|deadline| Instant::now() < deadline) {
            return Ok(());
        }
        let seconds = |wait: Duration| wait.as_secs();
        if matches!(self.phase, Phase::Fetching { .. }) {
            self.start_closing();
            return Ok(());
        }
        Err(match self.phase {
            Phase::Talking => End::Failed(format!(
                "the server sent no rules within {} s: no Mida server?",
                seconds(RULES_WAIT)
            )),
            Phase::Emptying { .. } => End::Failed(format!(
                "the server did not answer everything within {} s",
                seconds(ANSWERS_WAIT)
            )),
            Phase::Fetching { .. } | Phase::Closing { .. } => End::Done,
        })
    }

    fn wait(&self, typing: bool) -> Result<Ready, End> {
        let timeout = match (self.unread, self.deadline()) {
            (true, _) => Some(Duration::ZERO),
            (false, deadline) => deadline.map(|at| at.saturating_duration_since(Instant::now())),
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let out = if self.unsent { PollFlags::OUT } else { PollFlags::empty() };
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let mut fds = [
            PollFd::new(self.socket.get_ref(), PollFlags::IN | out),
            PollFd::new(&self.signals, PollFlags::IN),
            // An error is always told: nobody reads any more.
            PollFd::new(&stdout, PollFlags::empty()),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        let watched = if typing { &mut fds[..] } else { &mut fds[..3] };
        match poll(watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(End::Failed(format!("cannot wait for the server: {error}"))),
        }
        let [socket, _, unread, input] = fds.map(|fd| !fd.revents().is_empty());
        if unread {
            return Err(End::Done);
        }
        Ok(Ready { socket, input: input && typing })
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Ready {
    socket: bool,
    input: bool,
}

/// Who read along and left, as `head` does, wants no more.
fn unwritable(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe => End::Done,
        _ => End::Failed(format!("cannot write to standard output: {error}")),
    }
}
