//! The text format of Prometheus, version 0.0.4: families of samples, each with its help and type.

use std::fmt::Write;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// A new family; the samples that follow are its own. `help` has no backslash and no newline.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        self.family = name;
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.part("", labels, value);
    }

    /// A part of a histogram or a summary: `_bucket`, `_sum` or `_count`.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        for (nth, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"", if nth == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = match value.into() {
            Value::Whole(value) => writeln!(self.text, " {value}"),
            Value::Real(value) => writeln!(self.text, " {value}"),
        };
    }

    pub fn finish(self) -> String {
        self.text
    }
}

pub enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_under_their_family_and_labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("mida_a_total", Kind::Counter, "Things.");
        text.sample(&[], 3);
        text.sample(&[("why", "a \"b\" \\ \n"), ("n", "1")], 0.25);
        text.family("mida_b_seconds", Kind::Histogram, "Times.");
        text.part("_bucket", &[("le", "+Inf")], 7);
        assert_eq!(
            text.finish(),
            "# HELP mida_a_total Things.\n# TYPE mida_a_total counter\nmida_a_total 3\n\
            mida_a_total{why=\"a \\\"b\\\" \\\\ \\n\",n=\"1\"} 0.25\n\
            # HELP mida_b_seconds Times.\n# TYPE mida_b_seconds histogram\nmida_b_seconds_bucket{le=\"+Inf\"} 7\n"
        );
    }
}
