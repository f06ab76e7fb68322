//! Numbers that JSON allows and simd-json does not: those beyond the range of an f64.
//!
//! RFC 8259 section 6 sets no range, and an unknown member may hold any number. This is the cold path:
//! it runs only after simd-json has refused a number.

/// Puts `0.0` in the place of every number of `text` that overflows an f64: as wrong a `t` or `count` as
/// the number was. `structurals` are simd-json's offsets into `text`; `tamed` begins with a copy of it.
///
/// Returns whether it is worth to look at `tamed` again: whether something was replaced, and no number
/// was malformed.
pub(super) fn tame(text: &[u8], structurals: &[u32], tamed: &mut [u8]) -> bool {
    let mut replaced = false;
    for &at in structurals {
        let at = at as usize;
        let rest = text.get(at..).unwrap_or_default();
        if !matches!(rest, [b'-' | b'0'..=b'9', ..]) {
            continue;
        }
        let end = rest.iter().position(|b| is_end(*b)).unwrap_or(rest.len());
        let token = rest.get(..end).unwrap_or_default();
        match value(token) {
            None => return false,
            Some(value) if value.is_infinite() => {
                let Some(place) = tamed.get_mut(at..at + end) else { return false };
                place.fill(b' ');
                place.iter_mut().zip(b"0.0").for_each(|(to, from)| *to = *from);
                replaced = true;
            }
            Some(_) => {}
        }
    }
    replaced
}

/// What may stand behind a number.
fn is_end(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'[' | b']' | b'{' | b'}')
}

/// The value of `token` as an f64, infinite if it is too large; `None` if the token is no number of JSON.
fn value(token: &[u8]) -> Option<f64> {
    let rest = token.strip_prefix(b"-").unwrap_or(token);
    let rest = match rest {
        [b'0', rest @ ..] => rest,
        _ => digits(rest)?,
    };
    let rest = match rest {
        [b'.', rest @ ..] => digits(rest)?,
        _ => rest,
    };
    let rest = match rest {
        [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => digits(rest)?,
        _ => rest,
    };
    if !rest.is_empty() {
        return None;
    }
    str::from_utf8(token).ok()?.parse().ok()
}

/// What is behind a run of digits, of which there must be one.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 { None } else { text.get(end..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_number_exactly_when_serde_json_says_so_or_calls_it_too_large() {
        let alphabet = [b'-', b'+', b'0', b'1', b'.', b'e', b'E'];
        for (length, n) in (0..=6).flat_map(|length| (0..7_usize.pow(length)).map(move |n| (length, n))) {
            let token: Vec<u8> = (0..length).map(|place| alphabet[n / 7_usize.pow(place) % 7]).collect();
            let said = match serde_json::from_slice::<f64>(&token) {
                Ok(_) => Some(false),
                Err(error) if error.to_string().contains("out of range") => Some(true),
                Err(_) => None,
            };
            assert_eq!(value(&token).map(f64::is_infinite), said, "{}", token.escape_ascii());
        }
    }

    #[test]
    fn only_the_numbers_that_are_too_large_are_replaced() {
        let text = br#"{"1e999":[1e999,-1E+400,1e308,"1e999"]}"#;
        let structurals: Vec<u32> = (0..text.len() as u32)
            .filter(|at| matches!(text.get(at.wrapping_sub(1) as usize), Some(b'[' | b',' | b'{' | b':')))
            .collect();
        let mut tamed = text.to_vec();
        assert!(tame(text, &structurals, &mut tamed));
        assert_eq!(
            tamed.escape_ascii().to_string(),
            br#"{"1e999":[0.0  ,0.0    ,1e308,"1e999"]}"#.escape_ascii().to_string()
        );
        assert!(!tame(b"[1e999,01]", &[0, 1, 6, 7, 9], &mut b"[1e999,01]".to_vec()));
        assert!(!tame(b"[1]", &[0, 1, 2], &mut b"[1]".to_vec()));
    }
}
