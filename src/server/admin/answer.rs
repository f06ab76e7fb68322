//! What is sent back, and how a refusal looks.

use serde_json::{Value, json};

/// What is sent back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    /// Further fields, with values that are safe in a head.
    pub fields: Vec<(&'static str, String)>,
    pub body: String,
}

/// Why something is not done: the status, and `error` of the answer.
pub type Why = (u16, &'static str);

impl Answer {
    pub fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, fields: Vec::new(), body }
    }

    /// One line for people.
    pub fn text(status: u16, line: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", format!("{value}\n"))
    }

    /// A refusal: `error` for programs, `message` for people.
    pub fn error((status, error): Why, message: &str) -> Self {
        Self::error_with((status, error), message, Value::Null)
    }

    /// A refusal that says more, by the members of `more`. Who may try again is told when.
    pub fn error_with((status, error): Why, message: &str, more: Value) -> Self {
        let mut value = json!({ "error": error, "message": message });
        if let (Value::Object(value), Value::Object(mut more)) = (&mut value, more) {
            value.append(&mut more);
        }
        let answer = Self::json(status, &value);
        match status {
            429 | 503 => answer.with("Retry-After", "1".to_owned()),
            _ => answer,
        }
    }

    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Status line to empty line.
    pub fn head(&self) -> String {
        let reason = reason(self.status);
        let mut head =
            format!("HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\n", self.status, self.content_type);
        head.push_str("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", self.body.len()));
        head
    }
}

/// RFC 9110 section 15, RFC 6585.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_json_and_says_when_to_try_again() {
        let answer = Answer::error_with((503, "store_full"), "a \"b\"", json!({ "receipts": [] }));
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(value, json!({ "error": "store_full", "message": "a \"b\"", "receipts": [] }));
        assert!(answer.head().contains("\r\nRetry-After: 1\r\n"));
        assert!(!Answer::error((400, "x"), "y").head().contains("Retry-After"));
    }
}
