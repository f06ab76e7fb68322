//! What a turn of the backend receives, from real sockets.

use super::{order::BACKLOG_RECEIVES, *};
use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

const LIGHT: u32 = 20;
const MUCH: usize = 10 * RECEIVE_BYTES + 7;

#[derive(Default)]
struct Open {
    sockets: HashMap<Token, TcpStream>,
    /// This one closes.
    closing: Option<u32>,
}

impl Sockets<TcpStream> for Open {
    fn look_up(&mut self, token: Token) -> Option<(&mut TcpStream, Wants)> {
        let wants = if self.closing == Some(token.index) { Wants::End } else { Wants::Bytes };
        self.sockets.get_mut(&token).map(|socket| (socket, wants))
    }
}

/// A backend with so many open connections, and their peers in the same order.
fn connected(count: u32) -> (Epoll, Open, Vec<std::net::TcpStream>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let desks: Arc<[Desk]> = Arc::from(Vec::new());
    let mut epoll = Epoll::new(
        vec![Listener::new(listener.into(), false).unwrap()],
        EventWaker::new().unwrap(),
        desks,
        0,
    )
    .unwrap();
    // What a turn takes is not to depend on how fast this machine is.
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    epoll.clock = || *NOW;
    epoll.order = Order::new(*NOW);
    let (mut open, mut peers) = (Open::default(), Vec::new());
    for index in 0..count {
        let peer = std::net::TcpStream::connect(address).unwrap();
        peer.set_nodelay(true).unwrap();
        peers.push(peer);
        let mut socket = loop {
            epoll.wait(None).unwrap();
            if let Some(Completion::Accepted { socket, .. }) = epoll.next(&mut open) {
                break socket;
            }
        };
        let token = Token { index, generation: NonZeroU32::new(index + 1).unwrap() };
        epoll.open(token, &mut socket).unwrap();
        open.sockets.insert(token, socket);
    }
    (epoll, open, peers)
}

/// Who is received from in the next turn, and how much.
fn turn(epoll: &mut Epoll, open: &mut Open) -> Vec<(u32, usize)> {
    epoll.wait(None).unwrap();
    let mut received = Vec::new();
    while let Some(completion) = epoll.next(open) {
        match completion {
            Completion::Received { token, bytes } => received.push((token.index, bytes.len())),
            other => panic!("nothing else happens: {other:?}"),
        }
    }
    received
}

#[test]
fn those_who_send_much_share_a_few_receives_a_turn_and_others_do_not_wait_for_them() {
    let (mut epoll, mut open, mut peers) = connected(LIGHT + 1);
    for peer in &mut peers[..LIGHT as usize] {
        peer.write_all(&[1; MUCH]).unwrap();
    }
    let first = turn(&mut epoll, &mut open);
    assert_eq!(first.len(), LIGHT as usize + BACKLOG_RECEIVES, "one each, and a few of the rest");
    let mut received = [0; LIGHT as usize];
    let mut count = |turn: &[(u32, usize)]| {
        for (index, bytes) in turn {
            received[*index as usize] += bytes;
        }
        let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
        assert!(most - least <= RECEIVE_BYTES, "they take turns: {received:?}");
        received.iter().sum::<usize>()
    };
    let mut sum = count(&first);
    let mut fresh = true;
    while sum < MUCH * LIGHT as usize {
        // More of the same brings nobody forward; little from another is received first.
        if fresh {
            peers[0].write_all(&[1]).unwrap();
            peers[LIGHT as usize].write_all(&[2; 10]).unwrap();
        }
        let mut next = turn(&mut epoll, &mut open);
        if fresh {
            assert_eq!(next.remove(0), (LIGHT, 10));
            assert_eq!(next.len(), BACKLOG_RECEIVES, "{next:?}");
        }
        sum = count(&next);
        fresh = sum < MUCH * LIGHT as usize / 2;
    }
}

#[test]
fn who_is_read_from_first_is_answered_before_others_are_read() {
    let (mut epoll, mut open, mut peers) = connected(3);
    // All three have been here for a while by then.
    let then = (epoll.clock)() + Duration::from_secs(4);
    epoll.order.begin(then - Duration::from_secs(2));
    epoll.order.begin(then);
    peers[0].write_all(&[1; MUCH]).unwrap();
    let mut turns = Vec::new();
    for _ in 0..2 {
        peers[1].write_all(&[2; 10]).unwrap();
        epoll.wait(None).unwrap();
        while let Some(completion) = epoll.next(&mut open) {
            turns.push(match completion {
                Completion::Received { token, .. } => token.index,
                Completion::Pause => u32::MAX,
                other => panic!("nothing else happens: {other:?}"),
            });
        }
        peers[0].write_all(&[3; 10]).unwrap();
    }
    turns[..2].sort_unstable();
    assert_eq!(turns[..3], [0, 1, u32::MAX]);
    assert_eq!(turns[3..][..BACKLOG_RECEIVES], [0; BACKLOG_RECEIVES]);
    // Who had more is not read from first so soon.
    assert_eq!(turns[3 + BACKLOG_RECEIVES..][..3], [1, u32::MAX, 0]);
}

#[test]
fn on_the_way_out_all_who_are_asked_are_read_from_at_once_however_slow_the_machine() {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let (mut epoll, mut open, mut peers) = connected(LIGHT);
    // Each look at it is 10 ms later: a turn is long from its second receive on.
    epoll.clock = || {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_millis(10 * LOOKS.fetch_add(1, Ordering::Relaxed))
    };
    peers.iter_mut().for_each(|peer| peer.write_all(&[1; 10]).unwrap());
    epoll.stop_listening(false);
    for (token, socket) in &mut open.sockets {
        epoll.resume(*token, socket);
    }
    epoll.wait(None).unwrap();
    let mut received = Vec::new();
    while let Some(completion) = epoll.next(&mut open) {
        match completion {
            Completion::Received { token, bytes } => received.push((token.index, bytes.len())),
            Completion::Pause => {}
            other => panic!("nothing else happens: {other:?}"),
        }
    }
    received.sort_unstable();
    assert_eq!(received, (0..LIGHT).map(|index| (index, 10)).collect::<Vec<_>>());
}

#[test]
fn a_reset_ends_who_is_closing_before_the_rest_is_received_and_nobody_else() {
    for closing in [None, Some(0)] {
        let (mut epoll, mut open, mut peers) = connected(1);
        open.closing = closing;
        peers[0].write_all(&[1; MUCH]).unwrap();
        turn(&mut epoll, &mut open);
        rustix::net::sockopt::set_socket_linger(&peers[0], Some(Duration::ZERO)).unwrap();
        peers.clear();
        epoll.wait(None).unwrap();
        let next = epoll.next(&mut open);
        match closing {
            None => assert!(matches!(next, Some(Completion::Received { .. })), "{next:?}"),
            Some(_) => assert!(matches!(next, Some(Completion::Ended { result: Err(_), .. })), "{next:?}"),
        }
    }
}

#[test]
fn who_closes_is_not_heard_any_more_and_its_end_comes_soon() {
    let (mut epoll, mut open, mut peers) = connected(1);
    peers[0].write_all(&[1; MUCH]).unwrap();
    assert!(!turn(&mut epoll, &mut open).is_empty());
    open.closing = Some(0);
    peers[0].write_all(&[1; 2 * DROP_BYTES]).unwrap();
    peers[0].shutdown(Shutdown::Write).unwrap();
    for _ in 0..4 {
        epoll.wait(None).unwrap();
        match epoll.next(&mut open) {
            None => {}
            Some(Completion::Ended { result: Ok(()), .. }) => return,
            other => panic!("bytes are dropped: {other:?}"),
        }
    }
    panic!("it does not end");
}
