//! A reactor, its backend, its operator and its clients, from the first connection to the last.

use crate::{
    client::{Client, Login, Stage},
    model::Model,
    plan::Plan,
};
use mida::{
    app::{
        Mida,
        crypto::rng::Rng,
        relay::{Command, Online},
    },
    engine::{
        inbox::Inbox,
        io::{
            Io,
            sim::{Bell, Dice, Sim, Socket},
        },
        reactor::{Drain, Holdings, Letter, Reactor, Settings},
    },
};
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

/// Letters that overflow an inbox, with whatever else is in it.
const OVERFLOW: usize = 4_200;
/// From the last note, and the end of the last pause, to when it must have reached everybody.
const QUIET_MS: u64 = 1_500;

/// The simulated kernel, as it is or as io_uring shows it.
pub trait Simulated: Io<Socket = Socket, Waker = Bell> + AsMut<Sim> + From<Sim> {}

impl<I: Io<Socket = Socket, Waker = Bell> + AsMut<Sim> + From<Sim>> Simulated for I {}

pub struct World<I: Simulated> {
    plan: Plan,
    reactor: Reactor<I, Mida>,
    inbox: Arc<Inbox<Letter<Command>, Bell>>,
    online: Online,
    dice: Dice,
    rng: Rng,
    model: Model,
    clients: Vec<Client>,
    /// When which client acts next; an entry that its client does not know any more is void.
    alarms: BinaryHeap<Reverse<(u64, u32)>>,
    next_note_ms: u64,
    next_client_ms: u64,
    idle_turns: usize,
}

impl<I: Simulated> World<I> {
    pub fn new(plan: Plan, mut dice: Dice) -> Self {
        let online = Online::new(1);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&dice.throw().to_le_bytes());
        let config = Arc::new(plan.config.clone());
        let settings = Settings {
            limits: config.limits.clone(),
            proxies: Arc::default(),
            heartbeat_ms: config.heartbeat_ms,
            capacity: plan.capacity,
        };
        let mut sim = Sim::new(Dice::new(dice.throw()), plan.faults.clone());
        sim.jump = plan.jump;
        let app = Mida::new(config, online.clone(), Rng::from_seed(seed));
        let reactor = Reactor::new(I::from(sim), app, settings, Arc::default(), dice.throw());
        seed[8] = 1;
        Self {
            inbox: reactor.inbox(),
            reactor,
            model: Model::new(plan.config.clone(), online.clone(), plan.is_tight),
            online,
            rng: Rng::from_seed(seed),
            clients: Vec::new(),
            alarms: BinaryHeap::new(),
            next_note_ms: dice.below(plan.notes_ms),
            next_client_ms: 0,
            idle_turns: 0,
            dice,
            plan,
        }
    }

    pub fn run(&mut self) {
        while self.clients.len() < self.plan.clients || self.model.now_ms < self.plan.last_ms {
            self.step();
        }
        self.quiet();
        self.close();
        self.nothing_stays();
    }

    /// How it ended for each client.
    pub fn ends(&self) -> Vec<String> {
        let of = |client: &Client| match client.stage {
            Stage::Told(status @ ..1_000) => format!("http {status}"),
            Stage::Told(code) => code.to_string(),
            _ if client.was_reset => "reset".to_owned(),
            _ => "left".to_owned(),
        };
        let mut ends: Vec<_> = self.clients.iter().map(of).collect();
        let passed = self.clients.iter().filter(|client| client.login == Login::Passed);
        ends.extend(passed.map(|_| "passed".to_owned()));
        let got = self.clients.iter().flat_map(|client| &client.got);
        ends.extend(got.map(|_| "message".to_owned()));
        let sent = self.clients.iter().flat_map(|client| &client.sent);
        ends.extend(sent.map(|_| "sent".to_owned()));
        ends.extend(self.clients.iter().filter(|client| client.has_expired).map(|_| "expired".to_owned()));
        ends
    }

    /// A sleep of the reactor, what happens meanwhile, and a turn.
    fn step(&mut self) {
        self.sleep();
        self.act();
        self.turn();
    }

    fn sleep(&mut self) {
        let now_ms = self.model.now_ms;
        let alarm_ms = self.alarms.peek().map_or(u64::MAX, |Reverse((at_ms, _))| *at_ms);
        self.reactor.io().as_mut().until_ms =
            alarm_ms.min(self.next_note_ms).min(self.next_client_ms).max(now_ms);
        self.reactor.wait(now_ms).unwrap();
        let sim: &mut Sim = self.reactor.io().as_mut();
        self.idle_turns = if sim.now_ms == now_ms && !sim.has_work() { self.idle_turns + 1 } else { 0 };
        assert!(self.idle_turns < 10_000, "the reactor spins");
        self.model.now_ms = sim.now_ms;
    }

    fn act(&mut self) {
        let now_ms = self.model.now_ms;
        if self.next_client_ms <= now_ms {
            self.come();
        }
        if self.next_note_ms <= now_ms {
            self.next_note_ms = now_ms + 1;
            // An inbox that is yet to be emptied may be full.
            if !self.reactor.io().as_mut().is_woken() {
                self.next_note_ms += self.dice.below(2 * self.plan.notes_ms);
                self.tell(60);
            }
        }
        while let Some(Reverse((at_ms, number))) = self.alarms.peek().copied()
            && at_ms <= now_ms
        {
            self.alarms.pop();
            let client = &mut self.clients[number as usize];
            if client.wakes_ms == at_ms {
                client.act(self.reactor.io().as_mut(), &self.model, &mut self.dice);
                self.look(number);
            }
        }
    }

    /// The next clients connect.
    fn come(&mut self) {
        let now_ms = self.model.now_ms;
        let left = self.plan.clients - self.clients.len();
        for _ in 0..left.min(1 + self.dice.below(2 * self.plan.crowd as u64) as usize) {
            let kind = self.plan.kinds[self.dice.below(self.plan.kinds.len() as u64) as usize];
            let room = self.dice.pick([1_000, 3_000, 20_000, 200_000]);
            let address = ([10, 0, 0, self.dice.below(4) as u8], 1_000).into();
            let number = self.reactor.io().as_mut().connect(address, room);
            self.clients.push(Client::new(number, kind, now_ms));
            self.alarms.push(Reverse((now_ms, number)));
        }
        let rounds = (self.plan.clients / self.plan.crowd).max(1) as u64;
        self.next_client_ms = match self.clients.len() < self.plan.clients {
            true => now_ms + self.dice.below(2 * self.plan.last_ms / rounds),
            false => u64::MAX,
        };
    }

    /// The operator tells everybody something, several things at once, or amid a turn.
    fn tell(&mut self, overflows: u32) {
        let most_bytes = self.plan.note_bytes;
        let mut letters: Vec<_> =
            (0..self.dice.pick([1, 2, 3, 12])).map(|_| self.model.note(&mut self.dice, most_bytes)).collect();
        if self.dice.one_in(overflows) {
            letters.extend((0..OVERFLOW).map(|_| self.model.aside()));
        }
        let inbox = self.inbox.clone();
        if self.dice.one_in(2) {
            // What does not fit are the letters that nobody hears of.
            let _ = inbox.post_all(letters);
        } else if self.reactor.io().as_mut().meanwhile.is_none() {
            self.reactor.io().as_mut().meanwhile = Some(Box::new(move || drop(inbox.post_all(letters))));
        } else {
            letters.into_iter().for_each(|letter| drop(inbox.post(letter)));
        }
    }

    fn turn(&mut self) {
        self.reactor.turn(self.model.now_ms);
        self.audit();
        for number in self.reactor.io().as_mut().take_fresh() {
            self.look(number);
        }
    }

    /// A client looks at its connection, and answers.
    fn look(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        let sim: &mut Sim = self.reactor.io().as_mut();
        let most = if self.dice.one_in(4) { self.dice.below(2_000) as usize } else { usize::MAX };
        let was_open = client.stage == Stage::Open;
        client.read(sim, &self.model, &mut self.rng, most);
        if most < usize::MAX {
            client.read(sim, &self.model, &mut self.rng, usize::MAX);
        }
        client.end_if_told(sim, &mut self.dice);
        client.send(sim, &self.model, &mut self.dice);
        if !was_open && client.stage == Stage::Open {
            client.wakes_ms = self.model.now_ms + self.dice.below(100);
        }
        if client.wakes_ms != u64::MAX && !client.is_over {
            self.alarms.push(Reverse((client.wakes_ms, number)));
        }
    }

    /// What the reactor counts is what its slots hold, and each of them has its timer.
    fn audit(&mut self) {
        let connections = self.reactor.connections();
        assert_eq!(connections, self.reactor.io().as_mut().descriptors(), "a socket without a slot");
        assert!(self.online.total() <= self.reactor.app().members() as u64);
        if connections > 300 && !self.dice.one_in(16) {
            return;
        }
        let (found, held) = (self.reactor.audit(), self.reactor.holdings());
        assert_eq!((found.connections, found.holdings, found.undone), (connections, held, 0));
        assert_eq!(found.untimed, 0, "a connection without a timer");
        assert!(held.queue_bytes + held.tail_bytes <= self.model.limits.reactor_queue_bytes);
    }

    /// The last note: whoever is there hears it.
    fn quiet(&mut self) {
        self.next_note_ms = u64::MAX;
        while self.reactor.io().as_mut().is_woken() || self.reactor.io().as_mut().meanwhile.is_some() {
            self.step();
        }
        self.tell(4);
        self.model.is_quiet = true;
        let (told_ms, until_ms) = (self.model.now_ms, self.later_ms(self.model.pause_ms() + QUIET_MS));
        while self.model.now_ms < until_ms {
            self.next_client_ms = until_ms;
            self.step();
        }
        self.next_client_ms = u64::MAX;
        let last = self.model.last_note();
        for client in self.clients.iter().filter(|client| client.stage == Stage::Open && !client.is_over) {
            if client.is_honest() && client.opened_ms < told_ms {
                assert_eq!(client.pushed, Some(last), "{client:?} has not heard the last note");
                // What it has sent in the last moment may be on its way.
                let is_sent = client.out.is_empty() && client.last_frame_ms < told_ms;
                let missing = &client.unreceipted;
                assert!(!is_sent || missing.is_empty(), "{client:?}: no receipts for {missing:?}");
            }
        }
    }

    /// When the server has had so much time, even if it is yet to stand still.
    fn later_ms(&mut self, ms: u64) -> u64 {
        self.model.now_ms + ms + self.reactor.io().as_mut().jump.map_or(0, |(_, jump_ms)| jump_ms)
    }

    fn close(&mut self) {
        if self.plan.drains {
            self.model.is_draining = true;
            let over_ms = self.dice.pick([0, 300, 5_000]);
            let letter = Letter::Drain(Drain { over_ms, passed: self.dice.one_in(2) });
            assert!(self.inbox.post(letter).is_ok());
        }
        // Until the silent ones are found out, and those that do not end are reset.
        let until_ms = self.later_ms(3 * self.model.heartbeat_ms + 20_000);
        while self.reactor.connections() > 0 || self.reactor.io().as_mut().has_work() {
            for number in 0..self.clients.len() as u32 {
                let client = &mut self.clients[number as usize];
                if !self.plan.drains && !client.is_over && !client.is_done {
                    client.leave();
                    self.look(number);
                }
            }
            let now_ms = self.model.now_ms;
            assert!(now_ms < until_ms, "{} connections stay", self.reactor.connections());
            self.step();
        }
        self.turn();
    }

    fn nothing_stays(&mut self) {
        assert_eq!(self.reactor.holdings(), Holdings::default());
        assert_eq!((self.reactor.connections(), self.reactor.io().as_mut().descriptors()), (0, 0));
        assert_eq!((self.reactor.app().members(), self.online.total()), (0, 0));
        assert_eq!(self.reactor.is_drained(), self.plan.drains);
        assert_eq!(self.reactor.stats().panics, 0);
        assert_eq!(self.reactor.wakes_ms(), u64::MAX, "something is still to come");
        for client in &self.clients {
            for (from, number) in &client.got {
                let to = self.clients[*from].sent.get(*number);
                assert_eq!(to, Some(&client.user()), "{client:?}: nobody sent it");
            }
            assert!(client.is_over || client.has_ended, "{client:?} was left alone");
        }
    }
}
