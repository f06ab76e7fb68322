//! What a run has found out, for people and for programs.

use super::{
    beats::Spread,
    histogram::Histogram,
    script::{Mode, Pace, Script},
    tally::Tally,
    watched::Memory,
};
use serde_json::{Value, json};
use std::fmt::{self, Write};

/// All that is reported.
pub struct Report<'a> {
    pub url: &'a str,
    pub script: &'a Script,
    pub threads: u64,
    pub asked: u64,
    pub members: u64,
    /// Of the connect phase; a storm has none.
    pub connect_seconds: f64,
    /// That were measured.
    pub seconds: f64,
    pub interrupted: bool,
    pub tally: &'a Tally,
    /// What the load itself took in the time measured.
    pub own_cpu_seconds: f64,
    pub server: Option<Server>,
}

/// What the server's process took.
pub struct Server {
    pub pid: u32,
    /// In the connect phase, and in the time measured; none: it has ended before.
    pub connect_cpu_seconds: Option<f64>,
    pub cpu_seconds: Option<f64>,
    /// At the end of the time measured.
    pub memory: Option<Memory>,
    /// At a quarter of the connections and at all of them, with how many there were.
    pub sizes: Option<[(u64, Memory); 2]>,
}

impl Server {
    /// Bytes that one more connection takes: anonymous and resident.
    fn slope(&self) -> Option<(f64, f64)> {
        let [(few, small), (many, large)] = self.sizes?;
        let more = many.checked_sub(few).filter(|more| *more > 0)? as f64;
        let grown = |large: u64, small: u64| (large as f64 - small as f64) / more;
        Some((
            grown(large.anonymous_bytes, small.anonymous_bytes),
            grown(large.resident_bytes, small.resident_bytes),
        ))
    }
}

impl Report<'_> {
    /// A connection failed, or a question was answered with an error.
    pub fn has_failed(&self) -> bool {
        self.tally.failed() > 0 || !self.tally.errors.is_empty()
    }

    fn per_second(&self, count: u64) -> f64 {
        ratio(count as f64, self.seconds)
    }

    /// What is counted per second of the server's processor time.
    fn done(&self) -> u64 {
        if self.script.mode == Mode::Storm { self.tally.cycles } else { self.tally.messages }
    }

    fn unanswered(&self) -> u64 {
        self.tally.asked - self.tally.answered - self.tally.lost
    }

    pub fn json(&self) -> Value {
        let tally = self.tally;
        let failures: serde_json::Map<_, _> =
            tally.failures.iter().map(|(failure, count)| (failure.name(), json!(count))).collect();
        let mut all = json!({
            "url": self.url,
            "mode": self.script.mode.name(),
            "plain": self.script.plain,
            "auth": self.script.auth,
            "batching": self.script.batching,
            "threads": self.threads,
            "interrupted": self.interrupted,
            "seconds": self.seconds,
            "load_cpu_seconds": self.own_cpu_seconds,
            "connections": {
                "asked": self.asked,
                "connected": tally.connected,
                "failed": tally.failed(),
                "failures": failures,
                "ready_us": times(&tally.connecting),
                "members": self.members,
                "pings": tally.pings,
                "pings_per_100_ms": tally.beats.spread().map(|spread| {
                    json!({ "mean": spread.mean, "peak": spread.peak, "windows": spread.windows })
                }),
            },
        });
        if self.script.mode == Mode::Storm {
            all["storm"] = json!({
                "connections": tally.cycles,
                "connections_per_second": self.per_second(tally.cycles),
            });
        } else {
            all["connections"]["seconds"] = json!(self.connect_seconds);
            all["connections"]["per_second"] = json!(ratio(tally.connected as f64, self.connect_seconds));
            all["messages"] = json!({
                "received": tally.messages,
                "received_per_second": self.per_second(tally.messages),
                "errors": tally.errors,
                "checked": tally.checked,
            });
        }
        if self.script.mode == Mode::Echo {
            all["echo"] = json!({
                "asked": tally.asked,
                "unsent": tally.unsent,
                "answered": tally.answered,
                "unanswered": self.unanswered(),
                "lost": tally.lost,
                "pushed": tally.pushed,
                "latency_us": times(&tally.latency),
            });
            match self.script.pace {
                Pace::InFlight(in_flight) => all["echo"]["in_flight"] = json!(in_flight),
                Pace::Rate(rate) => {
                    all["echo"]["rate"] = json!(rate);
                    all["echo"]["late_us"] = times(&tally.late);
                }
            }
        }
        if let Some(server) = &self.server {
            let slope = server.slope();
            all["server"] = json!({
                "pid": server.pid,
                "cpu_seconds": server.cpu_seconds,
                "cpu_percent": server.cpu_seconds.map(|cpu| 100.0 * ratio(cpu, self.seconds)),
                "per_cpu_second": server.cpu_seconds.map(|cpu| ratio(self.done() as f64, cpu)),
                "connect_cpu_seconds": server.connect_cpu_seconds,
                "resident_bytes": server.memory.map(|memory| memory.resident_bytes),
                "anonymous_bytes": server.memory.map(|memory| memory.anonymous_bytes),
                "anonymous_bytes_per_connection": slope.map(|(anonymous, _)| anonymous),
                "resident_bytes_per_connection": slope.map(|(_, resident)| resident),
            });
        }
        all
    }

    fn write(&self, out: &mut impl Write) -> fmt::Result {
        let tally = self.tally;
        let flags = [
            (self.script.plain, "plain"),
            (self.members == self.asked, "logged in"),
            (self.script.batching, "batches"),
            (self.interrupted, "interrupted"),
        ];
        let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, name)| format!(", {name}")).collect();
        let threads =
            if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        writeln!(out, "{} {}{flags}, {threads}", self.script.mode.name(), self.url)?;
        if self.script.mode == Mode::Storm {
            let rate = self.per_second(tally.cycles);
            writeln!(
                out,
                "storm        {} connections in {:.2} s: {rate:.0} a second",
                tally.cycles, self.seconds
            )?;
        } else {
            let rate = ratio(tally.connected as f64, self.connect_seconds);
            writeln!(
                out,
                "connections  {} of {} in {:.2} s: {rate:.0} a second",
                tally.connected, self.asked, self.connect_seconds
            )?;
        }
        if (1..self.asked).contains(&self.members) {
            writeln!(out, "  logged in  {}", self.members)?;
        }
        writeln!(out, "  ready in   {}", Times(&tally.connecting))?;
        writeln!(out, "  failed     {}", tally.failed())?;
        for (failure, count) in &tally.failures {
            writeln!(out, "    {count:>8} {failure}")?;
        }
        if let Some(Spread { windows, mean, peak }) = tally.beats.spread() {
            let ratio = ratio(peak as f64, mean);
            writeln!(
                out,
                "  pings      {mean:.1} each 100 ms, at most {peak}: {ratio:.2} times the mean of {windows}"
            )?;
        }
        if !matches!(self.script.mode, Mode::Storm | Mode::Idle) {
            self.write_messages(out)?;
        }
        let busy = 100.0 * ratio(self.own_cpu_seconds, self.seconds);
        writeln!(out, "this load    {:.2} CPU seconds: {busy:.1} %", self.own_cpu_seconds)?;
        if let Some(server) = &self.server {
            self.write_server(server, out)?;
        }
        Ok(())
    }

    fn write_messages(&self, out: &mut impl Write) -> fmt::Result {
        let tally = self.tally;
        let rate = self.per_second(tally.messages);
        let kind = if self.script.mode == Mode::Echo { "answers" } else { "pushed" };
        writeln!(out, "messages     {} {kind} in {:.2} s: {rate:.0} a second", tally.messages, self.seconds)?;
        if self.script.mode == Mode::Echo {
            writeln!(out, "  latency    {}", Times(&tally.latency))?;
            if let Pace::Rate(rate) = self.script.pace {
                writeln!(out, "             from when they were due, {rate} a second; they left late by:")?;
                writeln!(out, "  late       {}", Times(&tally.late))?;
            }
            writeln!(out, "  asked      {}, never answered {}", tally.asked, self.unanswered() + tally.lost)?;
            if tally.unsent > 0 {
                writeln!(out, "  unsent     {}: no connection, or this load was behind", tally.unsent)?;
            }
        }
        if !self.script.plain {
            writeln!(out, "  checked    {} opened and read whole", tally.checked)?;
        }
        for (code, errors) in &tally.errors {
            writeln!(out, "  errors     {errors} {code}")?;
        }
        if tally.errors.contains_key("rate_limited") {
            writeln!(
                out,
                "             the server needs --limit member_messages_per_minute=0 and \
                 --limit anonymous_messages_per_minute=0"
            )?;
        }
        Ok(())
    }

    fn write_server(&self, server: &Server, out: &mut impl Write) -> fmt::Result {
        let (Some(cpu), Some(memory)) = (server.cpu_seconds, server.memory) else {
            return writeln!(out, "server       its process {} has ended", server.pid);
        };
        let busy = 100.0 * ratio(cpu, self.seconds);
        writeln!(out, "server       {cpu:.2} CPU seconds in {:.2} s: {busy:.1} %", self.seconds)?;
        let per_cpu = ratio(self.done() as f64, cpu);
        match self.script.mode {
            Mode::Storm => writeln!(out, "             {per_cpu:.0} connections a CPU second")?,
            Mode::Echo | Mode::Broadcast => writeln!(out, "             {per_cpu:.0} messages a CPU second")?,
            Mode::Idle => {}
        }
        if let (true, Some(cpu)) = (self.script.mode != Mode::Storm, server.connect_cpu_seconds) {
            let each = 1e6 * ratio(cpu, self.tally.connected as f64);
            writeln!(out, "  to connect {cpu:.2} CPU seconds: {each:.1} µs each")?;
        }
        let [anonymous, resident] =
            [memory.anonymous_bytes, memory.resident_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
        writeln!(out, "  memory     {anonymous:.1} MiB anonymous, {resident:.1} MiB resident")?;
        if let (Some((anonymous, resident)), Some([(few, _), (many, _)])) = (server.slope(), server.sizes) {
            writeln!(
                out,
                "  each       {anonymous:.0} bytes anonymous, {resident:.0} resident: slope from {few} to {many} connections"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// Nothing in no time is nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

fn times(histogram: &Histogram) -> Value {
    let us = |ns: u64| json!(ns as f64 / 1e3);
    let mut times: serde_json::Map<_, _> =
        QUANTILES.iter().map(|(name, part)| ((*name).to_owned(), us(histogram.quantile_ns(*part)))).collect();
    times.insert("max".to_owned(), us(histogram.max_ns()));
    times.insert("count".to_owned(), json!(histogram.total()));
    Value::Object(times)
}

/// A histogram in one line.
struct Times<'a>(&'a Histogram);

impl fmt::Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.total() == 0 {
            return f.write_str("-");
        }
        for (name, part) in QUANTILES {
            write!(f, "{name} {}  ", Time(self.0.quantile_ns(part)))?;
        }
        write!(f, "max {}", Time(self.0.max_ns()))
    }
}

struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ 0..1_000_000 => write!(f, "{:.1} µs", ns as f64 / 1e3),
            ns @ 1_000_000..1_000_000_000 => write!(f, "{:.2} ms", ns as f64 / 1e6),
            ns => write!(f, "{:.2} s", ns as f64 / 1e9),
        }
    }
}
