//! Each cap, one at a time.

use super::*;

fn said(caps: &Caps, groups: &[&[Job]]) -> String {
    let mut keeper = keeper(&Medium::default(), caps, Now { unix_ms: 1_000, steady_ms: 0 }).unwrap();
    let mut all = Vec::new();
    for (nth, jobs) in groups.iter().enumerate() {
        let now = Now { unix_ms: 1_000 + nth as u64, steady_ms: nth as u64 };
        let mut words = Vec::new();
        keeper.work(jobs, true, now, &mut words).unwrap();
        all.push(outcomes(&words));
    }
    all.join(" ")
}

#[test]
fn each_cap_holds_and_refuses_with_its_own_word() {
    let wide = Caps::default();
    let many = |count: usize, from: u8, to: u8, bytes: usize| -> Vec<Job> {
        (0..count).map(|nth| send(from, &[to], &nth.to_string(), bytes)).collect()
    };
    // A key that has never logged in: 32 messages, 64 KiB.
    assert_eq!(said(&wide, &[&many(33, 0, 1, 10)]), "s".repeat(32) + "m");
    let two = [send(0, &[1], "a", 65_536), send(0, &[1], "b", 1)];
    assert_eq!(said(&wide, &[&two]), "sm");
    // One that has: one sender 100, all 1,000.
    assert_eq!(said(&wide, &[&[login(1)], &many(101, 0, 1, 10)]), "- ".to_owned() + &"s".repeat(100) + "m");
    let crowd: Vec<Job> = (2..13).flat_map(|from| many(100, from, 1, 10)).collect();
    assert_eq!(said(&wide, &[&[login(1)], &crowd]), "- ".to_owned() + &"s".repeat(1_000) + &"m".repeat(100));
    // 4 MiB in one mailbox, 1 MiB of one sender in all.
    let large: Vec<Job> = (2..7).flat_map(|from| many(16, from, 1, 65_536)).collect();
    assert_eq!(said(&wide, &[&[login(1)], &large]), "- ".to_owned() + &"s".repeat(64) + &"m".repeat(16));
    let spread: Vec<Job> = (1..18).map(|to| send(0, &[to], &to.to_string(), 65_536)).collect();
    assert_eq!(said(&wide, &[&spread]), "s".repeat(16) + "m");
    // The whole store, messages with what they take besides; what is acked makes room.
    let small = Caps { store_bytes: 2 * (256 + 10) + 200, ..Caps::default() };
    assert_eq!(said(&small, &[&[send(0, &[1, 2, 3], "", 10)], &[send(0, &[2], "", 10)]]), "ssf f");
    // The operator has no bound of a sender.
    let mut operator = many(101, 0, 1, 10);
    for job in &mut operator {
        if let Job::Send(send) = job {
            Arc::get_mut(send).unwrap().from = From::Operator { question: 1 };
        }
    }
    assert_eq!(said(&wide, &[&[login(1)], &operator]), "- ".to_owned() + &"s".repeat(101));
}

#[test]
fn an_id_stands_for_one_content_also_after_the_ack_and_over_a_crash() {
    let medium = Medium::default();
    let caps = Caps::default();
    let now = Now { unix_ms: 1_000, steady_ms: 0 };
    let mut first = keeper(&medium, &caps, now).unwrap();
    let mut words = Vec::new();
    let jobs = [send(0, &[1], "a", 5), send(0, &[1], "a", 5), send(0, &[1], "a", 6), send(2, &[1], "a", 5)];
    first.work(&jobs, true, now, &mut words).unwrap();
    assert_eq!(outcomes(&words), "sris");
    let Word::Committed(done) = &words[0] else { panic!("{words:?}") };
    let id = done.id;
    first.work(&[Job::Ack { identity: key(1), ids: [id].into() }], true, now, &mut words).unwrap();
    drop(first);
    medium.crash();
    let mut second =
        keeper(&medium, &caps, Now { unix_ms: 1_000 + caps.repeat_ms - 1, steady_ms: 7 }).unwrap();
    let mut words = Vec::new();
    let later = Now { unix_ms: 1_000 + caps.repeat_ms - 1, steady_ms: 7 };
    second.work(&jobs[..3], true, later, &mut words).unwrap();
    assert_eq!(outcomes(&words), "rri");
    let Word::Receipt { receipt, .. } = &words[0] else { panic!("{words:?}") };
    assert_eq!(receipt.id, Some(id));
    // Its time is over.
    let over = Now { unix_ms: later.unix_ms + 1, steady_ms: 8 };
    second.expire(over, &mut words).unwrap();
    let mut words = Vec::new();
    second.work(&jobs[2..3], true, over, &mut words).unwrap();
    assert_eq!(outcomes(&words), "s");
}

#[test]
fn what_was_refused_everywhere_may_be_sent_again() {
    let full = Caps { unseen_messages: 1, ..Caps::default() };
    let jobs = [send(0, &[1], "a", 5), send(0, &[1], "b", 5), send(0, &[1, 2], "c", 5)];
    let again = [login(1), send(0, &[1], "b", 5), send(0, &[1, 2], "c", 5)];
    assert_eq!(said(&full, &[&jobs, &again]), "smms -smr");
}

#[test]
fn names_are_kept_and_changed_and_cut() {
    let mut keeper = keeper(&Medium::default(), &Caps::default(), Now::default()).unwrap();
    let mut name = |name: Option<&str>, method| {
        let login = Login {
            at: at(1),
            identity: key(1),
            method,
            display_name: name.map(Box::from),
            bio: name.map(Box::from),
        };
        let mut words = Vec::new();
        keeper.work(&[Job::Login(Box::new(login))], true, Now::default(), &mut words).unwrap();
        match words.remove(0) {
            Word::Account { result, .. } => result.map(|account| account.display_name.into_string()),
            word => panic!("{word:?}"),
        }
    };
    use crate::app::protocol::event::Reason;
    assert_eq!(name(None, Method::Login), Err(Reason::NoAccount));
    assert_eq!(name(Some("Ann"), Method::Signup), Ok("Ann".to_owned()));
    assert_eq!(name(Some("Eve"), Method::Signup), Err(Reason::AccountExists));
    assert_eq!(name(None, Method::Login), Ok("Ann".to_owned()));
    assert_eq!(name(Some("é".repeat(65).as_str()), Method::LoginOrSignup), Ok("é".repeat(64)));
}
