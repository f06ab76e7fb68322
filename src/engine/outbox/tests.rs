use super::*;
use crate::engine::wire::tests::config;
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

const ALL: usize = usize::MAX;

fn framed(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; frame::HEADER_MAX];
    let used = frame::write_header(opcode, payload.len(), &mut header);
    [&header[..used], payload].concat()
}

/// An application's flush: a frame for each message, at most three a call, `budget` in all. The first byte
/// of a message tells its mark.
fn close(budget: &mut usize) -> impl FnMut(&mut Run<'_>, &mut Gather) {
    |run, out| {
        for _ in 0..3 {
            let Some(message) = run.peek().filter(|_| *budget > 0) else { return };
            assert_eq!(message[0], run.mark(), "a run has one mark");
            out.bytes.extend_from_slice(&framed(Opcode::Binary, message));
            *budget -= 1;
            run.advance();
        }
    }
}

fn gather(outbox: &mut Outbox, queue: u32) -> Option<Box<Gather>> {
    outbox.gather(queue, close(&mut ALL.clone()))
}

/// What the slices show of the rest, and whether that is all of it.
fn shown(gather: &Gather) -> (Vec<u8>, bool) {
    let mut slices = [IoSlice::new(&[]); Gather::SLICES];
    let used = gather.slices(&mut slices);
    assert!(slices[..used].iter().all(|slice| !slice.is_empty()), "an empty segment is sent");
    (slices[..used].iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat(), used < Gather::SLICES)
}

#[test]
fn what_is_given_up_goes_little_by_little_and_faster_than_more_can_come() {
    let mut outbox = Outbox::default();
    let give_up = |outbox: &mut Outbox, messages: usize| {
        let queue = outbox.open();
        (0..messages).for_each(|_| outbox.push_message(queue, 0, |out| out.push(b'x')));
        outbox.settle(queue);
        outbox.close(queue);
        assert_eq!((outbox.bytes(), outbox.queues()), (0, 0));
    };
    give_up(&mut outbox, 10_000);
    outbox.end_turn();
    assert_eq!(outbox.nodes.len(), 10_000 - FREE_NODES - 10_000 / FREE_SHARE);
    let mut most = 0;
    for _ in 0..2_000 {
        give_up(&mut outbox, 3 * FREE_NODES);
        outbox.end_turn();
        most = most.max(outbox.nodes.len());
    }
    assert!((10_000..=3 * FREE_NODES * FREE_SHARE).contains(&most), "{most}");
    let turns = (0..)
        .take_while(|_| {
            outbox.has_rubbish() && {
                outbox.end_turn();
                true
            }
        })
        .count();
    assert!((100..2_000).contains(&turns) && outbox.nodes.is_empty(), "{turns}");
    give_up(&mut outbox, 10_000);
    outbox.rest();
    assert!(outbox.nodes.is_empty() && !outbox.has_rubbish());
}

#[test]
fn what_is_shared_is_one_frame_with_its_payload_in_it() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let payload = vec![7; len];
        let shared = Shared::new(Opcode::Text, |out| out.extend_from_slice(&payload));
        assert_eq!(shared.frame(), framed(Opcode::Text, &payload), "{len}");
        assert_eq!(shared.payload(), payload, "{len}");
    }
}

#[test]
fn a_large_shared_frame_is_sent_from_where_it_lies_and_a_small_one_is_copied() {
    for (len, is_copied) in [(1_000, true), (1_019, true), (1_020, false), (5_000, false)] {
        let mut outbox = Outbox::default();
        let shared = Shared::new(Opcode::Binary, |out| out.extend(vec![7; len]));
        let queues = [outbox.open(), outbox.open()];
        for queue in queues {
            outbox.push_shared(queue, Form::Frame, &shared);
            let gather = gather(&mut outbox, queue).unwrap();
            let mut slices = [IoSlice::new(&[]); Gather::SLICES];
            assert_eq!(gather.slices(&mut slices), 1);
            assert_eq!(slices[0].as_ptr() != shared.frame().as_ptr(), is_copied, "{len}");
            assert_eq!(gather.as_slice().is_some(), is_copied, "{len}");
        }
    }
}

#[test]
fn frames_that_follow_each_other_are_one_item() {
    let mut outbox = Outbox::default();
    let [one, other] = [outbox.open(), outbox.open()];
    for text in ["a", "b", "c"] {
        outbox.push_frame(one, Opcode::Text, text.as_bytes());
    }
    assert_eq!(outbox.nodes.len(), 1);
    outbox.push_frame(other, Opcode::Text, b"d");
    outbox.push_frame(one, Opcode::Text, b"e");
    assert_eq!(outbox.nodes.len(), 3);
    assert_eq!(gather(&mut outbox, one).unwrap().bytes, b"\x81\x01a\x81\x01b\x81\x01c\x81\x01e");
    assert_eq!(gather(&mut outbox, other).unwrap().bytes, b"\x81\x01d");
}

#[test]
fn what_is_settled_outlives_the_turn_and_what_follows_comes_behind_it() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    outbox.push_frame(queue, Opcode::Text, b"old");
    outbox.push_message(queue, 1, |out| out.extend_from_slice(b"\x01old"));
    outbox.settle(queue);
    outbox.end_turn();
    let other = outbox.open();
    outbox.push_frame(other, Opcode::Text, b"overwrites the arena");
    outbox.push_frame(queue, Opcode::Text, b"new");
    assert_eq!(gather(&mut outbox, queue).unwrap().bytes, b"\x81\x03old\x82\x04\x01old\x81\x03new");
}

#[test]
fn a_long_queue_is_flushed_in_pieces() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    // Between frames that could merge stands a shared one.
    let shared = Shared::new(Opcode::Binary, |out| out.extend(vec![7; 10_000]));
    for _ in 0..100 {
        outbox.push_shared(queue, Form::Frame, &shared);
    }
    let (mut pieces, mut bytes) = (0, 0);
    while let Some(gather) = gather(&mut outbox, queue) {
        assert!(gather.len() < FLUSH_BYTES + shared.frame().len());
        (pieces, bytes) = (pieces + 1, bytes + gather.len());
        let sent = gather.len();
        assert!(outbox.sent(queue, gather, sent).is_none());
    }
    assert_eq!((pieces, bytes), (4, 100 * shared.frame().len()));
}

#[test]
fn a_close_that_stops_leaves_the_messages_and_all_behind_them() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    outbox.push_frame(queue, Opcode::Text, b"a");
    outbox.push_message(queue, 1, |out| out.push(1));
    outbox.push_message(queue, 1, |out| out.push(1));
    outbox.push_frame(queue, Opcode::Text, b"b");
    for (budget, sends) in [(0, Some(&b"\x81\x01a"[..])), (0, None), (1, Some(b"\x82\x01\x01")), (0, None)] {
        let gather = outbox.gather(queue, close(&mut budget.clone()));
        assert_eq!(gather.as_ref().map(|gather| &gather.bytes[..]), sends);
        if let Some(gather) = gather {
            let sent = gather.len();
            outbox.sent(queue, gather, sent);
        }
        assert!(!outbox.get(queue).unwrap().is_drained());
    }
    assert_eq!(gather(&mut outbox, queue).unwrap().bytes, b"\x82\x01\x01\x81\x01b");
}

#[test]
fn messages_with_different_marks_are_different_runs() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    for mark in [1, 1, 2, 1] {
        outbox.push_message(queue, mark, |out| out.push(mark));
    }
    outbox.push_frame(queue, Opcode::Text, b"");
    outbox.push_message(queue, 1, |out| out.push(1));
    let mut runs = Vec::new();
    outbox.gather(queue, |run, _| {
        let mut count = 0;
        while run.peek().is_some() {
            run.advance();
            count += 1;
        }
        run.advance();
        runs.push((run.mark(), count));
    });
    assert_eq!(runs, [(1, 2), (2, 1), (1, 1), (1, 1)]);
}

#[test]
fn nothing_is_gathered_while_a_send_is_in_flight() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    outbox.push_frame(queue, Opcode::Text, b"ab");
    let first = gather(&mut outbox, queue).unwrap();
    outbox.push_frame(queue, Opcode::Text, b"cd");
    assert!(gather(&mut outbox, queue).is_none());
    let first = outbox.sent(queue, first, 3).unwrap();
    assert!(gather(&mut outbox, queue).is_none());
    assert_eq!(first.as_slice(), Some(&b"b"[..]));
    assert!(outbox.sent(queue, first, 1).is_none());
    assert_eq!(gather(&mut outbox, queue).unwrap().bytes, b"\x81\x02cd");
}

#[test]
fn an_empty_item_leaves_nothing_behind() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    outbox.push_raw(queue, |_| {});
    outbox.push_message(queue, 1, |_| {});
    assert!(outbox.gather(queue, |run, _| run.advance()).is_none());
    assert!(outbox.get(queue).unwrap().is_drained());
    assert_eq!((outbox.nodes.len(), outbox.bytes()), (0, 0));
}

#[test]
fn an_encoder_that_panics_queues_nothing() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    let fails = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"half");
        resume_unwind(Box::new(()));
    };
    outbox.push_frame(queue, Opcode::Text, b"a");
    for push in [Outbox::push_raw as fn(&mut Outbox, u32, _), |outbox, queue, fails| {
        outbox.push_encoded_frame(queue, Opcode::Text, fails);
    }] {
        assert!(catch_unwind(AssertUnwindSafe(|| push(&mut outbox, queue, fails))).is_err());
    }
    outbox.push_frame(queue, Opcode::Text, b"b");
    assert_eq!(outbox.get(queue).unwrap().bytes(), 6);
    assert_eq!(gather(&mut outbox, queue).unwrap().bytes, b"\x81\x01a\x81\x01b");
}

#[test]
fn the_memory_that_is_kept_has_a_bound() {
    let mut outbox = Outbox::default();
    for len in std::iter::repeat_n(100, 20).chain(std::iter::repeat_n(KEEP_BYTES + 1, 20)) {
        let queue = outbox.open();
        outbox.push_raw(queue, |out| out.extend(vec![7; len]));
        let gather = gather(&mut outbox, queue).unwrap();
        outbox.close(queue);
        outbox.recycle(gather);
        outbox.end_turn();
        assert!(outbox.arena.capacity() <= KEEP_BYTES);
    }
    let kept = |outbox: &Outbox| outbox.gathers.iter().map(|gather| gather.bytes.capacity()).sum::<usize>();
    let many: Vec<_> = (0..2 * KEEP_GATHERS)
        .map(|number| {
            Box::new(Gather { bytes: Vec::with_capacity(number % 2 * FLUSH_BYTES), ..Gather::default() })
        })
        .collect();
    many.into_iter().for_each(|gather| outbox.recycle(gather));
    assert_eq!(kept(&outbox), outbox.gather_bytes);
    assert!(outbox.gathers.len() <= KEEP_GATHERS && kept(&outbox) <= KEEP_GATHER_BYTES);
    assert!(kept(&outbox) >= FLUSH_BYTES, "nothing was kept");
}

#[test]
fn the_largest_queue_is_the_one_with_most_bytes() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.largest(), None);
    let queues = [3, 9, 5].map(|len| {
        let queue = outbox.open();
        outbox.push_raw(queue, |out| out.extend(vec![7; len]));
        queue
    });
    assert_eq!(outbox.largest(), Some(queues[1]));
    outbox.close(queues[1]);
    assert_eq!(outbox.largest(), Some(queues[2]));
}

#[test]
fn a_queue_that_is_gone_takes_nothing() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    outbox.close(queue);
    outbox.push_frame(queue, Opcode::Text, b"a");
    outbox.push_shared(queue, Form::Frame, &Shared::new(Opcode::Text, |_| {}));
    outbox.taken(queue, 5);
    outbox.settle(queue);
    outbox.close(queue);
    assert!(gather(&mut outbox, queue).is_none() && outbox.get(queue).is_none());
    assert_eq!((outbox.nodes.len(), outbox.queues(), outbox.bytes()), (0, 0, 0));
}

#[test]
fn the_slices_are_exactly_the_rest_wherever_the_kernel_stopped() {
    let mut outbox = Outbox::default();
    let queue = outbox.open();
    let large = Shared::new(Opcode::Binary, |out| out.extend((0..1_100).map(|i| i as u8)));
    let mut whole = Vec::new();
    for text in ["first", "second", "", "third"] {
        outbox.push_frame(queue, Opcode::Text, text.as_bytes());
        outbox.push_shared(queue, Form::Frame, &large);
        outbox.push_shared(queue, Form::Frame, &large);
        whole.extend_from_slice(&framed(Opcode::Text, text.as_bytes()));
        whole.extend_from_slice(&large.frame().repeat(2));
    }
    for compacts in [false, true] {
        for at in 0..=whole.len() {
            let mut gather = Gather::default();
            for text in ["first", "second", "", "third"] {
                gather.bytes.extend_from_slice(&framed(Opcode::Text, text.as_bytes()));
                gather.share(&large.frame);
                gather.share(&large.frame);
            }
            gather.advance(at);
            if compacts {
                gather.compact();
            }
            assert_eq!(shown(&gather), (whole[at..].to_vec(), true), "{at}");
            assert_eq!((gather.len(), gather.is_empty()), (whole.len() - at, at == whole.len()));
        }
    }
    let mut gathered = gather(&mut outbox, queue).unwrap();
    assert_eq!(shown(&gathered).0, whole);
    gathered.advance(ALL);
    assert!(gathered.is_empty());
}

#[test]
fn what_is_compacted_holds_only_the_rest() {
    let mut gather = Gather::default();
    gather.bytes.extend_from_slice(&[7; 100_000]);
    gather.advance(99_990);
    gather.compact();
    assert_eq!((gather.as_slice(), gather.bytes.capacity() < 100), (Some(&[7; 10][..]), true));
}

#[derive(Clone, Debug)]
enum Step {
    Frame(usize),
    Encoded(usize),
    Raw(usize),
    Message(u8, usize),
    SharedFrame(usize),
    SharedMessage(u8, usize),
    /// With this budget for messages.
    Gather(usize),
    /// The kernel takes so many bytes; the backend keeps the rest (true) or gives it back.
    Sent(usize, bool),
    Settle,
    EndTurn,
    Discard,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![24 => 1..200usize, 6 => 1_000..1_100usize, 1 => Just(70_000usize)];
    let mark = || 1..3u8;
    prop_oneof![
        3 => len().prop_map(Step::Frame),
        3 => len().prop_map(Step::Encoded),
        1 => len().prop_map(Step::Raw),
        4 => (mark(), len()).prop_map(|(mark, len)| Step::Message(mark, len)),
        3 => len().prop_map(Step::SharedFrame),
        2 => (mark(), len()).prop_map(|(mark, len)| Step::SharedMessage(mark, len)),
        4 => prop_oneof![1 => Just(0), 2 => 1..5usize, 3 => Just(ALL)].prop_map(Step::Gather),
        6 => (prop_oneof![3 => 0..300usize, 2 => 300..20_000usize, 1 => Just(ALL)], any::<bool>())
            .prop_map(|(most, keeps)| Step::Sent(most, keeps)),
        1 => Just(Step::Settle),
        2 => Just(Step::EndTurn),
        1 => Just(Step::Discard),
        1 => Just(Step::Reopen),
    ]
}

/// What one queue must hold: bytes as they will be on the wire, and how many of them count before.
#[derive(Default)]
struct Model {
    items: VecDeque<(Vec<u8>, usize, bool)>,
    in_flight: Vec<u8>,
    gather: Option<Box<Gather>>,
}

impl Model {
    fn bytes(&self) -> usize {
        self.items.iter().map(|(_, counts, _)| counts).sum::<usize>() + self.in_flight.len()
    }

    /// The queue was gathered with this much `left` of the budget.
    fn gathered(&mut self, gather: Option<Box<Gather>>, left: usize) {
        if self.gather.is_some() {
            return assert!(gather.is_none(), "two sends at once");
        }
        let len = gather.as_ref().map_or(0, |gather| gather.len());
        while self.in_flight.len() < len {
            let (bytes, ..) = self.items.pop_front().expect("more was gathered than was pushed");
            self.in_flight.extend_from_slice(&bytes);
        }
        assert_eq!(self.in_flight.len(), len, "an item is cut in two");
        match self.items.front() {
            Some((_, _, is_message)) if len < FLUSH_BYTES => assert!(*is_message && left == 0, "left behind"),
            _ => {}
        }
        self.gather = gather;
        self.shows_the_rest();
    }

    fn shows_the_rest(&mut self) {
        let Some(gather) = &self.gather else { return };
        let rest = &self.in_flight[..];
        let (bytes, is_all) = shown(gather);
        assert!(rest.starts_with(&bytes), "the stream is not what was pushed");
        assert!(!bytes.is_empty() && (!is_all || bytes.len() == rest.len()), "the slices end early");
        assert!(gather.as_slice().is_none_or(|slice| slice == rest));
    }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn each_queue_delivers_what_was_pushed_once_and_in_order(
        steps in prop::collection::vec((0..3usize, step()), 1..120),
    ) {
        let mut outbox = Outbox::default();
        let mut queues: Vec<(u32, Model)> = (0..3).map(|_| (outbox.open(), Model::default())).collect();
        for (number, (which, step)) in steps.into_iter().enumerate() {
            let (queue, model) = &mut queues[which];
            // Neighbours differ, so that an item in a wrong place is seen.
            let filled = |len: usize| (0..len).map(|i| (i * 7 + i / 251 + 37 * number) as u8).collect::<Vec<_>>();
            let marked = |mark: u8, len: usize| [&[mark], &filled(len)[..]].concat();
            match step {
                Step::Frame(len) => {
                    outbox.push_frame(*queue, Opcode::Text, &filled(len));
                    let frame = framed(Opcode::Text, &filled(len));
                    model.items.push_back((frame.clone(), frame.len(), false));
                }
                Step::Encoded(len) => {
                    outbox.push_encoded_frame(*queue, Opcode::Binary, |out| out.extend(filled(len)));
                    let frame = framed(Opcode::Binary, &filled(len));
                    model.items.push_back((frame.clone(), frame.len(), false));
                }
                Step::Raw(len) => {
                    outbox.push_raw(*queue, |out| out.extend(filled(len)));
                    model.items.push_back((filled(len), len, false));
                }
                Step::Message(mark, len) => {
                    outbox.push_message(*queue, mark, |out| out.extend(marked(mark, len)));
                    model.items.push_back((framed(Opcode::Binary, &marked(mark, len)), len + 1, true));
                }
                Step::SharedFrame(len) => {
                    let shared = Shared::new(Opcode::Text, |out| out.extend(filled(len)));
                    outbox.push_shared(*queue, Form::Frame, &shared);
                    let frame = framed(Opcode::Text, &filled(len));
                    model.items.push_back((frame.clone(), frame.len(), false));
                }
                Step::SharedMessage(mark, len) => {
                    let shared = Shared::new(Opcode::Text, |out| out.extend(marked(mark, len)));
                    outbox.push_shared(*queue, Form::Message(mark), &shared);
                    model.items.push_back((framed(Opcode::Binary, &marked(mark, len)), len + 1, true));
                }
                Step::Gather(mut budget) => {
                    let gather = outbox.gather(*queue, close(&mut budget));
                    model.gathered(gather, budget);
                }
                Step::Sent(most, keeps) => if let Some(mut gather) = model.gather.take() {
                    let sent = most.min(gather.len());
                    model.in_flight.drain(..sent);
                    model.gather = if keeps && sent < gather.len() {
                        gather.advance(sent);
                        gather.compact();
                        outbox.taken(*queue, sent);
                        Some(gather)
                    } else {
                        outbox.sent(*queue, gather, sent)
                    };
                    prop_assert_eq!(model.gather.is_none(), model.in_flight.is_empty());
                    model.shows_the_rest();
                }
                Step::Settle => outbox.settle(*queue),
                Step::EndTurn => {
                    queues.iter().for_each(|(queue, _)| outbox.settle(*queue));
                    outbox.end_turn();
                    prop_assert_eq!(outbox.arena_bytes(), 0);
                }
                Step::Discard => {
                    outbox.discard(*queue);
                    model.items.clear();
                }
                Step::Reopen => {
                    outbox.close(*queue);
                    (*queue, *model) = (outbox.open(), Model::default());
                }
            }
            for (queue, model) in &queues {
                let held = outbox.get(*queue).unwrap();
                prop_assert_eq!(held.bytes() as usize, model.bytes());
                prop_assert_eq!(held.in_flight(), !model.in_flight.is_empty());
                prop_assert_eq!(held.is_drained(), model.bytes() == 0);
            }
            let bytes: usize = queues.iter().map(|(_, model)| model.bytes()).sum();
            prop_assert_eq!((outbox.bytes(), outbox.queues()), (bytes as u64, 3));
            let items: usize = queues.iter().map(|(_, model)| model.items.len()).sum();
            prop_assert!(outbox.has_rubbish() || outbox.nodes.len() <= items);
        }
        for (queue, model) in &mut queues {
            while model.bytes() > 0 {
                if model.gather.is_none() {
                    let gather = gather(&mut outbox, *queue);
                    model.gathered(gather, ALL);
                }
                let rest = model.gather.take().unwrap();
                outbox.sent(*queue, rest, ALL);
                model.in_flight.clear();
            }
            prop_assert!(outbox.get(*queue).unwrap().is_drained());
        }
        outbox.end_turn();
        prop_assert_eq!((outbox.nodes.len(), outbox.bytes(), outbox.has_rubbish()), (0, 0, false));
        queues.iter().for_each(|(queue, _)| outbox.close(*queue));
        prop_assert_eq!(outbox.queues(), 0);
    }
}
