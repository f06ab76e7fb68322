//! Messages of a session: what the commands send, and what is kept of what comes.

use super::{BACKLOG_WAIT, End, Phase, Session, unix_ms, unwritable};
use crate::cli::connect::{
    inbound::Event,
    inbox::{MESSAGE, Message as Mail},
    login::Login,
    output::remark,
    post::{self, RECEIPT, Receipt},
    show::Context,
};
use mida::app::protocol::event::{ERROR, RESULT, RULES};
use serde::Deserialize;
use std::time::Instant;
use tungstenite::Message;

/// What the newest rules say of messages.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Rules {
    perms: Vec<String>,
    ext: Vec<String>,
}

#[derive(Deserialize)]
struct Outcome {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    unread_messages: u64,
}

#[derive(Deserialize)]
struct Refusal {
    id: Option<String>,
}

impl Session {
    pub(super) fn send_to_key(&mut self, to: &str, text: &str) -> Result<(), End> {
        if self.may("send", "send messages") {
            match self.known.find(to) {
                Ok(key) => {
                    self.known.note(&key);
                    let message = self.post.send(&mut self.rng, &key, text);
                    return self.say(message);
                }
                Err(problem) => self.complain(&problem),
            }
        }
        Ok(())
    }

    pub(super) fn publish(&mut self, topic: &str, text: &str) -> Result<(), End> {
        if self.may("topic.publish", "publish") {
            match post::check_topic(topic) {
                Ok(()) => {
                    let message = self.post.publish(&mut self.rng, topic, text);
                    return self.say(message);
                }
                Err(problem) => self.complain(&problem),
            }
        }
        Ok(())
    }

    /// Joins or leaves.
    pub(super) fn topic(&mut self, t: u8, topic: &str) -> Result<(), End> {
        if self.may("topic.join", "join topics") {
            match post::check_topic(topic) {
                Ok(()) => {
                    let message = post::topic(&mut self.rng, t, topic);
                    return self.say(message);
                }
                Err(problem) => self.complain(&problem),
            }
        }
        Ok(())
    }

    /// Whether the rules allow it; if not, the user is told what to do.
    fn may(&mut self, perm: &str, what: &str) -> bool {
        let may =
            self.rules.ext.iter().any(|ext| ext == "msg") && self.rules.perms.iter().any(|it| it == perm);
        match (may, self.login) {
            (true, _) => {}
            (false, Login::Passed) => {
                self.complain(&format!("not sent: this server does not let you {what}"))
            }
            (false, _) => {
                self.complain(&format!("not sent: log in to {what}, with --key FILE or /login FILE"))
            }
        }
        may
    }

    /// Sends what was made of a command.
    fn say(&mut self, message: String) -> Result<(), End> {
        self.output.sent(&message).map_err(unwritable)?;
        self.send(Message::text(message));
        Ok(())
    }

    /// Shows an event, and keeps what later lines need of it. False: it was passed over.
    pub(super) fn show(&mut self, event: &Event<'_>) -> Result<bool, End> {
        let mail: Option<Mail> =
            if event.t == MESSAGE { serde_json::from_str(event.data).ok() } else { None };
        let receipt: Option<Receipt> =
            if event.t == RECEIPT { serde_json::from_str(event.data).ok() } else { None };
        if let Some(mail) = &mail {
            if mail.topic.is_none() && matches!(self.phase, Phase::Closing { .. }) {
                // It cannot be acked any more, and comes again.
                return Ok(false);
            }
            mail.from.iter().for_each(|from| self.known.note(from));
        }
        if let Some(to) = receipt.as_ref().and_then(|receipt| receipt.to.as_ref()) {
            self.known.note(to);
        }
        let context = Context { known: &self.known, post: &self.post, now_ms: unix_ms() };
        self.output.event(event, &context).map_err(unwritable)?;
        match event.t {
            RULES => self.take_rules(serde_json::from_str(event.data).unwrap_or_default()),
            RESULT => {
                let user = serde_json::from_str::<Outcome>(event.data).ok().map(|outcome| outcome.user);
                self.rules_to_come = user.is_some() && self.login.is_under_way();
                self.inbox.logged_in(user.map_or(0, |user| user.unread_messages));
            }
            ERROR => {
                let refusal = serde_json::from_str(event.data).unwrap_or(Refusal { id: None });
                refusal.id.iter().for_each(|id| self.post.refused(id));
            }
            _ => {}
        }
        if let Some(receipt) = receipt {
            self.post.receipted(&receipt.re);
        }
        if let Some(mail) = mail
            && mail.topic.is_none()
            && self.login == Login::Passed
        {
            if let Phase::Fetching { until } = &mut self.phase {
                *until = Instant::now() + BACKLOG_WAIT;
            }
            self.inbox.take(mail);
        }
        Ok(true)
    }

    /// Once messages can come, the user is told the key that others need for it.
    fn take_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.rules_to_come = false;
        let has_messages = self.rules.ext.iter().any(|ext| ext == "msg");
        if has_messages && self.login == Login::Passed && !self.named {
            self.named = true;
            if let Some(key) = self.known.own() {
                remark(&format!("mida: your key is {key}: others /send to it"));
            }
        }
    }
}
