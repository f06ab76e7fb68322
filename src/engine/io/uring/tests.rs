//! What a turn of the backend brings, from real sockets. Where the kernel refuses io_uring, there is nothing to test.

use super::{socket::Holds, *};
use crate::engine::{io::Wants, outbox::Outbox};
use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    num::NonZeroU32,
};

const MUCH: usize = 40 * 4_096 + 7;

#[derive(Default)]
struct Open {
    sockets: HashMap<Token, Socket>,
    paused: Option<Token>,
    closing: Option<Token>,
}

impl Sockets<Socket> for Open {
    fn look_up(&mut self, token: Token) -> Option<(&mut Socket, Wants)> {
        let wants = match () {
            _ if self.paused == Some(token) => Wants::Nothing,
            _ if self.closing == Some(token) => Wants::End,
            _ => Wants::Bytes,
        };
        self.sockets.get_mut(&token).map(|socket| (socket, wants))
    }
}

/// A backend, its open connections and their peers in the same order.
struct World {
    uring: Uring,
    open: Open,
    peers: Vec<TcpStream>,
    address: SocketAddr,
    /// What came, and how it ended.
    came: BTreeMap<u32, Vec<u8>>,
    ended: BTreeMap<u32, bool>,
    sent: Vec<(u32, io::Result<usize>)>,
    failures: usize,
    next: u32,
}

impl World {
    /// None where the kernel refuses it.
    fn new(sockets: u32) -> Option<Self> {
        if let Err(lack) = probe() {
            eprintln!("skipped: {lack}");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = vec![Listener::new(listener.into(), false).unwrap()];
        let desks: Arc<[Desk]> = Arc::from(Vec::new());
        let uring = Uring::new(listeners, EventWaker::new().unwrap(), desks, 0, sockets).unwrap();
        Some(Self {
            uring,
            open: Open::default(),
            peers: Vec::new(),
            address,
            came: BTreeMap::new(),
            ended: BTreeMap::new(),
            sent: Vec::new(),
            failures: 0,
            next: 0,
        })
    }

    fn connected(count: usize) -> Option<Self> {
        let mut world = Self::new(64)?;
        while world.peers.len() < count {
            world.connect();
            world.until(|world| world.open.sockets.len() == world.peers.len());
        }
        Some(world)
    }

    fn connect(&mut self) {
        let peer = TcpStream::connect(self.address).unwrap();
        peer.set_nodelay(true).unwrap();
        self.peers.push(peer);
    }

    fn token(&self, index: u32) -> Token {
        Token { index, generation: NonZeroU32::new(index + 1).unwrap() }
    }

    /// As the reactor would ask: with its own socket in hand.
    fn with<R>(&mut self, index: u32, ask: impl FnOnce(&mut Uring, Token, &mut Socket) -> R) -> R {
        let token = self.token(index);
        ask(&mut self.uring, token, self.open.sockets.get_mut(&token).unwrap())
    }

    /// One turn; the bytes that it brought, piece by piece.
    fn turn(&mut self, timeout: Option<Duration>) -> Vec<(u32, usize)> {
        self.uring.wait(timeout).unwrap();
        let mut pieces = Vec::new();
        let mut accepted = Vec::new();
        while let Some(completion) = self.uring.next(&mut self.open) {
            match completion {
                Completion::Received { token, bytes } => {
                    assert!(!self.ended.contains_key(&token.index), "bytes behind the end");
                    pieces.push((token.index, bytes.len()));
                    self.came.entry(token.index).or_default().extend_from_slice(bytes);
                }
                Completion::Ended { token, result } => {
                    let before = self.ended.insert(token.index, result.is_ok());
                    assert!(before.is_none(), "it ends once");
                }
                Completion::Accepted { socket, peer, local } => {
                    assert!(self.peers.iter().any(|known| known.local_addr().unwrap() == peer));
                    assert_eq!(local, Some(self.address));
                    accepted.push(socket);
                }
                Completion::Sent { token, result, .. } => self.sent.push((token.index, result)),
                Completion::AcceptFailed(_) => self.failures += 1,
                Completion::Woken | Completion::Pause => {}
                other => panic!("nothing else happens: {other:?}"),
            }
        }
        for mut socket in accepted {
            let token = self.token(self.next);
            self.next += 1;
            self.uring.open(token, &mut socket).unwrap();
            self.open.sockets.insert(token, socket);
        }
        pieces
    }

    fn until(&mut self, is: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if is(self) {
                return;
            }
            self.turn(Some(Duration::from_millis(100)));
        }
        panic!("it does not come about");
    }

    fn gather(&self, bytes: &[u8]) -> Box<Gather> {
        let mut outbox = Outbox::default();
        let queue = outbox.open();
        outbox.push_raw(queue, |raw| raw.extend_from_slice(bytes));
        outbox.gather(queue, |_, _| {}).unwrap()
    }

    fn send(&mut self, index: u32, bytes: &[u8]) -> Sending {
        let gather = self.gather(bytes);
        self.with(index, |uring, token, socket| uring.send(token, socket, gather))
    }

    fn close(&mut self, index: u32, reset: bool) {
        let token = self.token(index);
        let socket = self.open.sockets.remove(&token).unwrap();
        self.uring.close(token, socket, reset);
    }
}

#[test]
fn what_comes_is_brought_whole_and_in_order_to_quiet_and_busy_ones() {
    let Some(mut world) = World::connected(3) else { return };
    let text: Vec<u8> = (0..MUCH).map(|at| (at % 251) as u8).collect();
    let mut writer = world.peers[1].try_clone().unwrap();
    let sent = text.clone();
    let thread = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    for round in 1..200 {
        world.peers[0].write_all(&[round; 200]).unwrap();
        world.until(|world| world.came.get(&0).is_some_and(|came| came.len() == 200 * usize::from(round)));
    }
    world.until(|world| world.came.get(&1).is_some_and(|came| came.len() == MUCH));
    thread.join().unwrap();
    assert!(world.came[&1] == text);
    assert!(
        world.came[&0]
            .chunks(200)
            .enumerate()
            .all(|(at, part)| part.iter().all(|b| usize::from(*b) == at + 1))
    );
    world.peers[0].shutdown(Shutdown::Write).unwrap();
    world.until(|world| world.ended.contains_key(&0));
    assert!(world.ended[&0] && !world.came.contains_key(&2));
}

#[test]
fn those_who_send_much_wait_for_those_who_send_little() {
    const HEAVY: usize = 20;
    let Some(mut world) = World::connected(HEAVY + 1) else { return };
    for peer in &mut world.peers[..HEAVY] {
        peer.write_all(&[1; MUCH]).unwrap();
    }
    for _ in 0..12 {
        let pieces = world.turn(None);
        let most = pieces.iter().map(|(_, bytes)| bytes).sum::<usize>();
        assert!(most <= 6 * HEAVY * 4_096, "a turn is short: {pieces:?}");
    }
    world.peers[HEAVY].write_all(&[2; 10]).unwrap();
    let pieces = [world.turn(None), world.turn(None)].concat();
    assert!(pieces.contains(&(HEAVY as u32, 10)), "{pieces:?}");
    let heavy = pieces.iter().filter(|(index, _)| *index < HEAVY as u32).count();
    assert!(heavy <= 8, "{pieces:?}");
    world.until(|world| (0..HEAVY as u32).all(|index| world.came[&index].len() == MUCH));
}

#[test]
fn what_came_while_the_reactor_stood_still_is_brought_by_its_next_few_turns() {
    // More than there are buffers; some busy, some parked.
    const MANY: u32 = 400;
    let Some(mut world) = World::new(512) else { return };
    for index in 0..MANY {
        world.connect();
        world.until(|world| world.next > index);
        for round in 1..=if index % 2 == 0 { 3 } else { 1 } {
            world.peers[index as usize].write_all(b"x").unwrap();
            world.until(|world| world.came.get(&index).is_some_and(|came| came.len() == round));
        }
    }
    world.came.clear();
    for peer in &mut world.peers {
        peer.write_all(b"pong").unwrap();
    }
    for _ in 0..5 {
        world.turn(Some(Duration::ZERO));
    }
    assert!((0..MANY).all(|index| world.came.get(&index).is_some_and(|came| came == b"pong")));
}

#[test]
fn a_paused_connection_gets_later_what_came_meanwhile_and_its_end_behind_it() {
    for busy in [false, true] {
        let Some(mut world) = World::connected(1) else { return };
        let mut expected = Vec::new();
        for round in 0..if busy { 5 } else { 1 } {
            world.peers[0].write_all(&[round; 10]).unwrap();
            expected.extend([round; 10]);
            world.until(|world| world.came.get(&0).is_some_and(|came| came.len() == expected.len()));
        }
        world.open.paused = Some(world.token(0));
        for round in 0..30 {
            world.peers[0].write_all(&[100 + round; 500]).unwrap();
            expected.extend([100 + round; 500]);
            world.turn(Some(Duration::from_millis(1)));
        }
        world.peers[0].shutdown(Shutdown::Write).unwrap();
        world.turn(Some(Duration::from_millis(1)));
        assert!(world.came[&0].len() <= 50 && world.ended.is_empty());
        world.open.paused = None;
        world.with(0, |uring, token, socket| uring.resume(token, socket));
        world.until(|world| world.ended.contains_key(&0));
        assert!(world.came[&0] == expected && world.ended[&0]);
    }
}

#[test]
fn a_send_tells_what_fitted_and_the_rest_follows_when_there_is_room() {
    let Some(mut world) = World::connected(1) else { return };
    let piece: Vec<u8> = (0..100_000).map(|at| (at % 253) as u8).collect();
    let mut expected = Vec::new();
    let rest = loop {
        expected.extend_from_slice(&piece);
        match world.send(0, &piece) {
            Sending::Done(gather, result) => assert_eq!(result.unwrap(), gather.len()),
            Sending::Pending(sent) => break piece.len() - sent,
        }
    };
    let mut reader = world.peers[0].try_clone().unwrap();
    let length = expected.len();
    let thread = std::thread::spawn(move || {
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        bytes
    });
    world.until(|world| !world.sent.is_empty());
    let (index, sent) = world.sent.pop().unwrap();
    let sent = sent.unwrap();
    assert!(index == 0 && sent > 0 && sent <= rest);
    let mut at = piece.len() - rest + sent;
    while at < piece.len() {
        match world.send(0, &piece[at..]) {
            Sending::Done(_, sent) => at += sent.unwrap(),
            Sending::Pending(sent) => {
                at += sent;
                world.until(|world| !world.sent.is_empty());
                at += world.sent.pop().unwrap().1.unwrap();
            }
        }
    }
    assert!(thread.join().unwrap() == expected);
}

#[test]
fn sends_of_a_group_are_told_in_order_with_what_became_of_each() {
    let Some(mut world) = World::connected(3) else { return };
    // The first is reset by its peer, the second has no room.
    rustix::net::sockopt::set_socket_linger(&world.peers[0], Some(Duration::ZERO)).unwrap();
    let gone = world.peers.remove(0);
    drop(gone);
    world.until(|world| world.ended.contains_key(&0));
    while let Sending::Done(_, sent) = world.send(1, &[0; 50_000]) {
        sent.unwrap();
    }
    world.close(1, true);
    world.connect();
    world.until(|world| world.open.sockets.len() == 3);
    for index in [0, 2, 3] {
        let gather = world.gather(&[7; 3_000]);
        world.with(index, |uring, token, socket| uring.put(token, socket, gather));
    }
    assert!(matches!(world.uring.outcome(), Some(Sending::Done(_, Err(_)))));
    for _ in 0..2 {
        let Some(Sending::Done(mut gather, Ok(3_000))) = world.uring.outcome() else { panic!("it has room") };
        // Nobody looks at it any more.
        gather.bytes.fill(0xEE);
    }
    assert!(world.uring.outcome().is_none());
    let mut bytes = [0; 3_000];
    world.peers[1].read_exact(&mut bytes).unwrap();
    world.peers[2].read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [7; 3_000]);
}

#[test]
fn a_close_ends_or_resets_and_a_send_in_flight_comes_back() {
    for reset in [false, true] {
        let Some(mut world) = World::connected(2) else { return };
        let expected = if reset { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) };
        for index in 0..2 {
            world.close(index, reset);
        }
        world.turn(Some(Duration::ZERO));
        world.turn(Some(Duration::ZERO));
        for mut peer in std::mem::take(&mut world.peers) {
            assert_eq!(peer.read(&mut [0; 10]).map_err(|error| error.kind()), expected);
        }
    }
    let Some(mut world) = World::connected(1) else { return };
    while let Sending::Done(_, sent) = world.send(0, &[0; 50_000]) {
        sent.unwrap();
    }
    world.close(0, true);
    world.until(|world| !world.sent.is_empty());
    assert!(world.sent.pop().unwrap().1.is_err() && world.uring.taken == 0);
}

#[test]
fn a_shutdown_ends_our_direction_alone() {
    let Some(mut world) = World::connected(1) else { return };
    assert!(matches!(world.send(0, b"last"), Sending::Done(_, Ok(4))));
    world.with(0, |uring, token, socket| uring.shutdown(token, socket));
    world.turn(Some(Duration::ZERO));
    let mut text = String::new();
    world.peers[0].read_to_string(&mut text).unwrap();
    assert_eq!(text, "last");
    world.peers[0].write_all(b"heard").unwrap();
    world.until(|world| world.came.contains_key(&0));
    let peer = world.with(0, |uring, _, socket| uring.peer(socket));
    assert_eq!(peer, Some(world.peers[0].local_addr().unwrap()));
}

#[test]
fn a_full_table_is_told_and_nobody_is_dropped_for_it() {
    let Some(mut world) = World::new(3) else { return };
    for _ in 0..5 {
        world.connect();
    }
    world.until(|world| world.failures > 0);
    assert_eq!(world.open.sockets.len(), 3);
    world.uring.accepting(false);
    world.turn(Some(Duration::ZERO));
    world.close(0, false);
    world.close(1, false);
    world.uring.accepting(true);
    world.until(|world| world.next == 5);
    world.peers[4].write_all(b"here").unwrap();
    world.until(|world| world.came.values().any(|came| came == b"here"));
}

#[test]
fn the_end_of_listening_takes_in_who_waits_and_refuses_who_comes() {
    let Some(mut world) = World::connected(1) else { return };
    world.uring.accepting(false);
    world.turn(Some(Duration::ZERO));
    for _ in 0..20 {
        world.connect();
    }
    world.uring.stop_listening(false);
    world.turn(Some(Duration::ZERO));
    assert!(world.uring.is_source());
    world.uring.accepting(true);
    world.until(|world| world.open.sockets.len() == 21);
    world.until(|world| !world.uring.is_source());
    assert!(TcpStream::connect(world.address).is_err());
}

#[test]
fn a_quiet_connection_is_parked_and_a_busy_one_needs_no_request_a_message() {
    let Some(mut world) = World::connected(1) else { return };
    for round in 1..=4 {
        world.peers[0].write_all(b"x").unwrap();
        world.until(|world| world.came.get(&0).is_some_and(|came| came.len() == round));
    }
    let holds = |world: &World| world.open.sockets[&world.token(0)].holds();
    assert_eq!(holds(&world), Holds::GoesOn);
    world.until(|world| holds(world) == Holds::Poll);
    world.peers[0].write_all(b"y").unwrap();
    world.until(|world| world.came[&0].len() == 5);
}

#[test]
fn who_was_there_before_is_brought_first_and_answered_before_the_others() {
    let Some(mut world) = World::connected(2) else { return };
    // As if seconds had passed.
    for _ in 0..8 {
        world.uring.order.tick();
        world.uring.order.begin();
    }
    world.connect();
    world.until(|world| world.open.sockets.len() == 3);
    // The last has just come, and the first sends much.
    let mut expected: BTreeMap<u32, usize> = BTreeMap::new();
    for round in 0..3 {
        for (index, bytes) in [(2, 10), (0, if round == 0 { 3 * BUFFER_BYTES } else { 10 }), (1, 10)] {
            world.peers[index as usize].write_all(&vec![7; bytes]).unwrap();
            *expected.entry(index).or_default() += bytes;
        }
        world.uring.wait(None).unwrap();
        let mut brought = Vec::new();
        while let Some(completion) = world.uring.next(&mut world.open) {
            brought.push(match completion {
                Completion::Received { token, bytes } => {
                    world.came.entry(token.index).or_default().extend_from_slice(bytes);
                    Some(token.index)
                }
                Completion::Pause => None,
                other => panic!("nothing else happens: {other:?}"),
            });
        }
        let pause = brought.iter().position(Option::is_none).expect("there is somebody behind");
        let (first, behind) = (&brought[..pause], &brought[pause + 1..]);
        assert!(first.contains(&Some(1)) && !first.contains(&Some(2)), "{brought:?}");
        assert!(
            behind.contains(&Some(2)) && behind.iter().all(|index| index.is_some_and(|index| index != 1))
        );
        assert!(round == 0 || !first.contains(&Some(0)), "{brought:?}");
        world.until(|world| expected.iter().all(|(index, bytes)| world.came[index].len() == *bytes));
    }
}

#[test]
fn who_closes_is_not_heard_any_more_and_does_not_wait_behind_those_who_send_much() {
    const HEAVY: u32 = 20;
    let Some(mut world) = World::connected(HEAVY as usize + 1) else { return };
    for peer in &mut world.peers {
        peer.write_all(&[1; MUCH]).unwrap();
    }
    world.until(|world| world.came.len() == HEAVY as usize + 1);
    // As a reactor that has heard enough.
    let token = world.token(HEAVY);
    world.open.closing = Some(token);
    let heard = world.came[&HEAVY].len();
    world.with(HEAVY, |uring, token, socket| uring.shutdown(token, socket));
    world.peers[HEAVY as usize].shutdown(Shutdown::Write).unwrap();
    let mut turns = 0;
    while !world.ended.contains_key(&HEAVY) {
        world.turn(Some(Duration::ZERO));
        turns += 1;
        assert!(turns < 20, "it is waited for as for one that sends much");
    }
    assert!(world.ended[&HEAVY] && world.came[&HEAVY].len() == heard);
    world.until(|world| (0..HEAVY).all(|index| world.came[&index].len() == MUCH));
}
