//! Hexadecimal (RFC 4648 section 8) without allocation: lowercase out, either case in.

/// The text is not two hex digits for each byte asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHex;

/// Reads exactly `2 * bytes.len()` digits of either case into `bytes`.
///
/// # Errors
/// [`NotHex`]: another length, or something that is no digit; `bytes` is of no use then.
pub fn decode(text: &[u8], bytes: &mut [u8]) -> Result<(), NotHex> {
    let (pairs, []) = text.as_chunks::<2>() else { return Err(NotHex) };
    if pairs.len() != bytes.len() {
        return Err(NotHex);
    }
    let mut seen = 0;
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value(high), value(low));
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    if seen > 15 { Err(NotHex) } else { Ok(()) }
}

/// Writes the digits of `bytes` to the front of `text`, as far as both reach.
pub fn encode(bytes: &[u8], text: &mut [u8]) {
    for (pair, &byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

/// Appends the digits of `bytes`; allocates only if `text` has no room.
pub fn append(bytes: &[u8], text: &mut Vec<u8>) {
    text.extend(bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// Arithmetic, not a table: the digits of a secret key are no address.
const fn digit(value: u8) -> u8 {
    value + b'0' + (value > 9) as u8 * (b'a' - b'0' - 10)
}

/// 16 or more for what is no digit.
const fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0xff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_from_either_case() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = [0; 512];
        encode(&all, &mut text);
        assert_eq!(std::str::from_utf8(&text[..]).unwrap()[18..26], *"090a0b0c");
        let mut appended = b"x".to_vec();
        append(&all, &mut appended);
        assert_eq!(appended[1..], text);
        for text in [text.to_vec(), text.to_ascii_uppercase()] {
            let mut back = [0; 256];
            decode(&text, &mut back).unwrap();
            assert_eq!(back[..], all);
        }
    }

    #[test]
    fn only_digits_count() {
        for c in 0..=255u8 {
            let mut byte = [0];
            let expected = char::from(c).to_digit(16);
            assert_eq!(decode(&[b'1', c], &mut byte).ok().map(|()| byte[0] - 16), expected.map(|d| d as u8));
            assert_eq!(decode(&[c, b'1'], &mut byte).is_ok(), expected.is_some());
        }
    }

    #[test]
    fn another_length_is_refused() {
        for text in ["", "1", "123", "12345", "123456"] {
            assert_eq!(decode(text.as_bytes(), &mut [0; 2]), Err(NotHex), "{text}");
        }
        assert_eq!(decode(b"", &mut []), Ok(()));
    }
}
