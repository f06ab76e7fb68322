//! What the operator sees of a key.

use super::*;
use std::sync::mpsc::{TryRecvError, channel};

fn look(keeper: &mut Keeper, number: u8) -> Look {
    let (tell, told) = channel();
    let looks = Job::Look { identity: key(number), tell };
    keeper.work(&[looks], true, Now::default(), &mut Vec::new()).unwrap();
    told.try_recv().unwrap()
}

#[test]
fn a_look_tells_of_the_account_and_of_what_waits_and_changes_nothing() {
    let medium = Medium::default();
    let mut keeper = keeper(&medium, &caps(), Now::default()).unwrap();
    assert_eq!(look(&mut keeper, 1), Look::default());
    let mut words = Vec::new();
    let jobs = [login(1), send(2, &[1], "a", 10), send(2, &[1], "b", 20), send(1, &[2], "c", 5)];
    keeper.work(&jobs, true, Now::default(), &mut words).unwrap();
    let first = words.iter().find_map(|word| match word {
        Word::Committed(committed) => Some(committed.id),
        _ => None,
    });
    for _ in 0..2 {
        let found = look(&mut keeper, 1);
        assert!(found.account.is_some() && first.is_some());
        assert_eq!((found.unread_messages, found.unread_bytes, found.oldest), (2, 30, first));
    }
    let other = look(&mut keeper, 2);
    assert_eq!((other.account, other.unread_messages, other.unread_bytes), (None, 1, 5));
}

#[test]
fn who_looks_at_a_store_that_cannot_be_read_is_not_left_waiting() {
    let (tell, told) = channel();
    let mut words = Vec::new();
    crate::store::desk::refuse(&Job::Look { identity: key(1), tell }, &mut words);
    assert_eq!((told.try_recv(), words.len()), (Err(TryRecvError::Disconnected), 0));
}
