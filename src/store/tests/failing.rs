//! A disk that fails.

use super::*;
use crate::store::desk::Desk;

fn desk(medium: &Medium) -> Desk {
    let medium = medium.clone();
    let open = Box::new(move || Disk::open(medium.clone()));
    Desk::open(Caps::default(), open, Now::default()).unwrap()
}

fn work(desk: &mut Desk, jobs: &[Job], steady_ms: u64) -> Vec<Word> {
    let mut words = Vec::new();
    desk.work(&mut jobs.to_vec(), Now { unix_ms: 5_000 + steady_ms, steady_ms }, &mut words);
    words
}

fn fetch(number: u8) -> Job {
    Job::Fetch { at: at(1), identity: key(number), after: MessageId::FIRST, messages: 9, bytes: 9_999 }
}

#[test]
fn a_full_disk_refuses_messages_lets_keys_in_and_ends() {
    let medium = Medium::default();
    let mut desk = desk(&medium);
    let words = work(&mut desk, &[login(1), send(0, &[1], "a", 5)], 0);
    let [Word::Account { .. }, Word::Committed(done)] = &words[..] else { panic!("{words:?}") };
    let id = done.id;

    medium.set_full(true);
    let ack = Job::Ack { identity: key(1), ids: [id].into() };
    let words = work(&mut desk, &[send(0, &[1], "b", 5), login(1), login(2), ack, fetch(1)], 10);
    assert_eq!(outcomes(&words).matches('f').count(), 1, "{words:?}");
    let passed = words.iter().filter(|word| matches!(word, Word::Account { result: Ok(_), .. })).count();
    assert_eq!(passed, 2, "{words:?}");
    assert!(!words.iter().any(|word| matches!(word, Word::Acked { .. } | Word::Committed(_))), "{words:?}");
    // Nothing is tried for a second.
    medium.set_full(false);
    assert_eq!(outcomes(&work(&mut desk, &[send(0, &[1], "b", 5)], 20)), "f");
    assert_eq!(desk.again_ms(), Some(1_010));

    // Then the ack and the fetch that waited are done, without being asked for again.
    let words = work(&mut desk, &[send(0, &[1], "b", 5)], 1_010);
    assert!(matches!(&words[0], Word::Acked { ids, .. } if **ids == [id]), "{words:?}");
    assert_eq!(outcomes(&words).matches('s').count(), 1);
    assert!(words.iter().any(|word| matches!(word, Word::Backlog { .. })));
    assert_eq!((desk.again_ms(), desk.holdings().messages), (None, 1));
}

#[test]
fn a_disk_that_goes_on_failing_is_tried_less_and_less_often() {
    let medium = Medium::default();
    let mut desk = desk(&medium);
    medium.set_full(true);
    let tries = |desk: &mut Desk, until_ms: u64| {
        let before = desk.failures();
        for ms in (0..until_ms).step_by(100) {
            assert_eq!(outcomes(&work(desk, &[send(0, &[1], "a", 5)], ms)), "f");
        }
        desk.failures() - before
    };
    let in_a_minute = tries(&mut desk, 60_000);
    assert!((5..=8).contains(&in_a_minute), "{in_a_minute}");
    medium.set_full(false);
    assert_eq!(outcomes(&work(&mut desk, &[send(0, &[1], "a", 5)], 100_000)), "s");
}

#[test]
fn a_file_that_is_no_database_is_an_error_and_no_panic() {
    let medium = Medium::default();
    drop(desk(&medium));
    medium.overwrite(7);
    let open = Box::new(move || Disk::open(medium.clone()));
    let error = Desk::open(Caps::default(), open, Now::default()).err().unwrap().to_string();
    assert!(!error.is_empty() && !error.contains('\n'), "{error}");
}
