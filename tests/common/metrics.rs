//! The admin address as a test asks it, and the text format of Prometheus (version 0.0.4), read strictly.

#![allow(dead_code)] // Each test file uses its part.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer of the admin address.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends these bytes and reads to the end.
pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.write_all(request).unwrap();
    answer(&mut socket)
}

/// Reads an answer to the end of the connection.
pub fn answer(socket: &mut TcpStream) -> Answer {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert_eq!(length.parse(), Ok(body.len()), "{head}");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// GET with further header fields, each with its line end.
pub fn get(address: SocketAddr, path: &str, fields: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n").as_bytes())
}

/// What `/metrics` says now.
pub fn scrape(address: SocketAddr) -> Metrics {
    let answer = get(address, "/metrics", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    Metrics::parse(&answer.body).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// The labels of a sample, by name.
pub type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    samples: Vec<(String, Labels, f64)>,
    /// Type of each family.
    families: BTreeMap<String, String>,
}

impl Metrics {
    /// The sum of the samples of this name that have these labels; there is at least one.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |held: &Labels| {
            labels.iter().all(|(name, value)| held.get(*name).is_some_and(|held| held == value))
        };
        let found: Vec<f64> = self
            .samples
            .iter()
            .filter(|(own, held, _)| own == name && has(held))
            .map(|found| found.2)
            .collect();
        assert!(!found.is_empty(), "no {name} with {labels:?}");
        found.iter().sum()
    }

    pub fn families(&self) -> &BTreeMap<String, String> {
        &self.families
    }

    /// Reads a whole page.
    ///
    /// # Errors
    /// The line that is wrong and why.
    pub fn parse(text: &str) -> Result<Metrics, String> {
        let mut metrics = Metrics::default();
        if !text.ends_with('\n') {
            return Err("the last line does not end".to_owned());
        }
        let (mut helped, mut family) = (None, None);
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            metrics
                .line(line, &mut helped, &mut family, &mut seen)
                .map_err(|why| format!("{why}: {line}"))?;
        }
        metrics.check_distributions()?;
        Ok(metrics)
    }

    fn line(
        &mut self,
        line: &str,
        helped: &mut Option<String>,
        family: &mut Option<String>,
        seen: &mut BTreeSet<(String, Labels)>,
    ) -> Result<(), &'static str> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("no help")?;
            if !is_name(name) || help.is_empty() || help.contains('\\') {
                return Err("a bad name or help");
            }
            *helped = Some(name.to_owned());
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            if helped.as_deref() != Some(name) {
                return Err("TYPE without its HELP before it");
            }
            if !["counter", "gauge", "histogram", "summary"].contains(&kind) {
                return Err("no such type");
            }
            if kind == "counter" && !name.ends_with("_total") {
                return Err("a counter that does not end in _total");
            }
            if self.families.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err("a family twice");
            }
            *family = Some(name.to_owned());
            return Ok(());
        }
        let (name, labels, value) = sample(line)?;
        let family = family.as_deref().ok_or("a sample without a family")?;
        let suffix = name.strip_prefix(family).ok_or("a sample outside its family")?;
        let suffixes: &[&str] = match self.families[family].as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        if !suffixes.contains(&suffix) || labels.contains_key("le") != (suffix == "_bucket") {
            return Err("not a sample of this type");
        }
        if self.families[family] != "gauge" && (value < 0.0 || !value.is_finite()) {
            return Err("a count that cannot be");
        }
        if !seen.insert((name.clone(), labels.clone())) {
            return Err("a sample twice");
        }
        self.samples.push((name, labels, value));
        Ok(())
    }

    /// Buckets are cumulative and in order, the last is +Inf and equals the count, and there is a sum.
    fn check_distributions(&self) -> Result<(), String> {
        for (family, kind) in &self.families {
            if kind != "histogram" && kind != "summary" {
                continue;
            }
            let of = |suffix: &str| {
                let name = format!("{family}{suffix}");
                self.samples.iter().filter(move |(own, ..)| *own == name)
            };
            let groups = of("_count").count();
            if groups == 0 || of("_sum").count() != groups {
                return Err(format!("{family} needs a sum and a count each"));
            }
            for (_, labels, count) in of("_count") {
                if !of("_sum").any(|(_, held, _)| held == labels) {
                    return Err(format!("{family} has no sum for {labels:?}"));
                }
                if kind == "summary" {
                    continue;
                }
                let buckets: Vec<(&str, f64)> = of("_bucket")
                    .filter(|(_, held, _)| held.iter().filter(|(name, _)| *name != "le").eq(labels.iter()))
                    .map(|(_, held, value)| (held["le"].as_str(), *value))
                    .collect();
                let bounds: Vec<f64> = buckets
                    .iter()
                    .map(|(bound, _)| number(bound).ok_or(format!("{family}: le {bound}")))
                    .collect::<Result<_, _>>()?;
                let is_sorted = bounds.windows(2).all(|two| two[0] < two[1]);
                let is_cumulative = buckets.windows(2).all(|two| two[0].1 <= two[1].1);
                let is_whole = buckets.last().is_some_and(|last| last.0 == "+Inf" && last.1 == *count);
                if !(is_sorted && is_cumulative && is_whole) {
                    return Err(format!("{family}{labels:?}: {buckets:?} for a count of {count}"));
                }
            }
        }
        Ok(())
    }
}

/// `name{label="value",…} number`, without a timestamp.
fn sample(line: &str) -> Result<(String, Labels, f64), &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("a bad name");
    }
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, behind) = rest.split_once("=\"").ok_or("a label without a value")?;
            if !is_name(label) || label.contains(':') || label.starts_with("__") {
                return Err("a bad label");
            }
            let (value, behind) = quoted(behind)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err("a label twice");
            }
            match behind.split_at_checked(1) {
                Some((",", more)) => rest = more,
                Some(("}", more)) => {
                    rest = more;
                    break;
                }
                _ => return Err("labels that do not end"),
            }
        }
    }
    let value = rest.strip_prefix(' ').and_then(number).ok_or("a bad value")?;
    Ok((name.to_owned(), labels, value))
}

/// A label's value up to its quote, and what is behind.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => return Err("a bad escape"),
            }),
            c => value.push(c),
        }
    }
    Err("a value that does not end")
}

fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.starts_with(|c: char| rest(c) && !c.is_ascii_digit()) && name.chars().all(rest)
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => text.parse().ok(),
        _ => None,
    }
}

#[test]
fn a_page_that_is_wrong_is_not_read() {
    let head = "# HELP a_total A.\n# TYPE a_total counter\n";
    let histogram = |lines: &str| format!("# HELP h H.\n# TYPE h histogram\n{lines}");
    let right = histogram("h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n");
    assert!(Metrics::parse(&right).is_ok_and(|page| page.families().len() == 1));
    let read = Metrics::parse(&format!("{head}a_total{{x=\"a \\\"\\\\\\n,}}\",y=\"\"}} 1e3\n")).unwrap();
    assert_eq!(read.sum("a_total", &[("x", "a \"\\\n,}"), ("y", "")]), 1_000.0);
    for wrong in [
        format!("{head}a_total 1"),
        format!("{head}a_total -1\n"),
        format!("{head}a_total NaN\n"),
        format!("{head}a_total 1 2\n"),
        format!("{head}a_total 1\na_total 2\n"),
        format!("{head}a 1\n"),
        format!("{head}a_total{{x=1}} 1\n"),
        format!("{head}a_total{{x=\"1\" 1\n"),
        format!("{head}a_total{{x=\"1\",x=\"1\"}} 1\n"),
        format!("{head}a_total{{x=\"\\t\"}} 1\n"),
        format!("{head}a_total{{1=\"\"}} 1\n"),
        format!("{head}{head}"),
        "# TYPE a gauge\na 1\n".to_owned(),
        "# HELP a A.\n# TYPE a counter\na 1\n".to_owned(),
        "# HELP a A.\n# TYPE a thing\na 1\n".to_owned(),
        "a 1\n".to_owned(),
        right.replace(" 1\n", " 3\n"),
        right.replace("h_count 2", "h_count 3"),
        right.replace("h_sum 3\n", ""),
        right.replace("h_bucket{le=\"+Inf\"} 2\n", ""),
        right.replace("le=\"1\"", "le=\"x\""),
    ] {
        assert!(Metrics::parse(&wrong).is_err(), "{wrong}");
    }
}
