//! Text from the server is shown, never obeyed: what a terminal or a reader's eye would act on is escaped.

use std::fmt::Write;

/// Control characters (C0, DEL, C1), those that turn the direction of text, end lines, or are not seen.
fn is_acted_on(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// On one line, for people: `\n`, `\u{1b}`.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_acted_on(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Valid JSON, on one line and still the same value: in strings `\u001b`, elsewhere a space.
pub fn json(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        match c {
            // Inside of strings these are escaped already.
            '\n' | '\r' | '\t' => json.push(' '),
            c if is_acted_on(c) => {
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
            c => json.push(c),
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLY: &str = "a\u{1b}[31m\u{7}\u{7f}\u{9b}2J\u{202e}\u{e0041}\r\n é 漢 \u{200d} \\";

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let shown = r"a\u{1b}[31m\u{7}\u{7f}\u{9b}2J\u{202e}\u{e0041}\r\n é 漢 ";
        assert_eq!(plain(SLY), format!("{shown}\u{200d} \\"));
        for c in (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_acted_on(*c)) {
            assert!(plain(&c.to_string()).bytes().all(|byte| byte.is_ascii_graphic()), "{c:?}");
        }
        assert!(('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}').all(is_acted_on));
    }

    #[test]
    fn json_stays_the_same_value_on_one_line() {
        let value = serde_json::json!({ SLY: [SLY, {}] });
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(is_acted_on), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
