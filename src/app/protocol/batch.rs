//! What stands around the messages of a batch on its way out, with commas between them (PROTOCOL.md
//! section 3.2).

use super::encode::decimal;

/// Bytes of the longest prefix, with a count of ten digits.
pub const ROOM: usize = OPEN.len() + COUNT_DIGITS + DATA.len();

/// What ends a batch.
pub const SUFFIX: &[u8; 2] = b"]}";

const OPEN: &[u8] = br#"{"count":"#;
const DATA: &[u8] = br#","data":["#;
const COUNT_DIGITS: usize = 10;

/// Writes the prefix of a batch of `count` messages at the end of `room`; returns how many bytes before it
/// are left over.
pub fn prefix(room: &mut [u8; ROOM], count: u32) -> usize {
    let (head, data) = room.split_at_mut(OPEN.len() + COUNT_DIGITS);
    data.copy_from_slice(DATA);
    let digits = decimal(head, count.into()).len();
    let spare = COUNT_DIGITS - digits;
    head[spare..spare + OPEN.len()].copy_from_slice(OPEN);
    spare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_stands_right_against_what_follows_for_every_number_of_digits() {
        assert_eq!(ROOM, r#"{"count":4294967295,"data":["#.len());
        let powers = (0..10).map(|digits| 10_u32.pow(digits));
        for count in powers.flat_map(|power| [power, power.saturating_mul(9)]).chain([u32::MAX]) {
            let mut room = [b'#'; ROOM];
            let spare = prefix(&mut room, count);
            assert_eq!(str::from_utf8(&room[spare..]), Ok(&*format!(r#"{{"count":{count},"data":["#)));
            assert!(room[..spare].iter().all(|byte| *byte == b'#'));
        }
    }
}
