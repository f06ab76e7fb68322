//! `GET /metrics`: all figures of all reactors, as Prometheus reads them.

use super::{
    Answer, Backend, Head, PUBLISH_MOST, Route, Service,
    exposition::{CONTENT_TYPE, Exposition, Kind, Value},
    process,
};
use crate::{
    app::figures::Figures as AppFigures,
    engine::{
        error::{Close, Refusal},
        reactor::FAREWELLS,
        slots::State,
    },
    server::{Pulse, figures::Figures},
    store,
};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::UNIX_EPOCH,
};

pub const ROUTES: &[Route] = &[Route { method: "GET", path: "/metrics", is_open: true, answer: metrics }];

/// One reactor's figures.
struct Row {
    reactor: String,
    /// 1, or 0 when it did not publish as it was asked.
    up: u64,
    figures: Figures,
    app: AppFigures,
}

/// A family with one sample a reactor.
type Family = (&'static str, Kind, &'static str, fn(&Row) -> u64);

macro_rules! by_reactor {
    ($( $kind:ident $name:literal $($field:ident).+: $help:literal; )*) => {
        const BY_REACTOR: &[Family] = &[$( ($name, Kind::$kind, $help, |row| row.$($field).+), )*];
    };
}

by_reactor! {
    Gauge "mida_reactor_up" up: "Whether the reactor published its figures when asked.";
    Counter "mida_accepted_total" figures.stats.accepted: "Connections accepted.";
    Counter "mida_dealt_total" figures.stats.dealt: "Accepted connections dealt to other reactors.";
    Counter "mida_taken_over_total" figures.stats.taken_over: "Connections dealt here by other reactors.";
    Counter "mida_lost_total" figures.stats.lost: "Connections dealt here and lost for want of descriptors.";
    Counter "mida_accept_failures_total" figures.stats.accept_failures:
        "Times that accepting failed and rested.";
    Counter "mida_received_bytes_total" figures.stats.received_bytes: "Bytes from clients, without what is dropped of one that closes.";
    Counter "mida_sent_bytes_total" figures.sent_bytes: "Bytes to clients that the kernel took.";
    Counter "mida_received_messages_total" figures.stats.messages: "Whole WebSocket messages from clients.";
    Counter "mida_received_events_total" app.events: "Events from clients, each in a batch by itself.";
    Counter "mida_sent_events_total" figures.sent_messages: "Events queued for clients.";
    Counter "mida_seals_total" app.seals: "Messages or batches sealed.";
    Counter "mida_derivations_total" app.derivations: "Sealing epochs begun, an ECDH each.";
    Counter "mida_verifications_total" app.verifications: "Signature verifications.";
    Counter "mida_strikes_total" app.strikes: "Strikes for bad messages.";
    Counter "mida_cut_total" figures.stats.cut: "Connections reset that did not end after their close.";
    Counter "mida_panics_total" figures.stats.panics: "Panics that closed a connection.";
    Counter "mida_stale_completions_total" figures.stale: "Completions for connections that were gone.";
    Gauge "mida_members" app.members: "Connections with a proven key.";
    Gauge "mida_sealed_connections" app.sealed: "Connections that are sealed to.";
    Gauge "mida_keys" app.keys: "Different keys that connections are found by.";
    Gauge "mida_challenges" app.challenges: "Open challenges.";
    Gauge "mida_struck_connections" app.struck: "Connections with strikes.";
    Gauge "mida_kept_hosts" app.kept_hosts: "Connections of which the host that they dialled is kept.";
    Counter "mida_messages_passing_total" app.routed: "Recipients of messages that are not stored; a topic is one.";
    Counter "mida_messages_to_store_total" app.stored: "Recipients of messages that the store was asked to keep.";
    Gauge "mida_windows" app.windows: "Connections with stored messages in flight, or behind.";
    Gauge "mida_messages_under_way" app.on_the_way: "Recipients of messages without an answer yet.";
    Gauge "mida_messages_under_way_bytes" app.on_the_way_bytes: "Bytes of those messages.";
    Gauge "mida_topics" app.topics: "Topics that connections of the reactor have joined.";
    Gauge "mida_queues" figures.queues: "Connections with something queued.";
    Gauge "mida_queue_bytes" figures.queue_bytes: "Bytes queued for clients.";
    Gauge "mida_tails" figures.tails: "Connections with an incomplete message or head.";
    Gauge "mida_tail_bytes" figures.tail_bytes: "Bytes held of incomplete messages and heads.";
}

fn metrics(service: &Service, _: &Head, _: &[u8]) -> Answer {
    let pulses = service.running.take_pulse(PUBLISH_MOST);
    let rows: Vec<Row> = service.running.figures().into_iter().zip(pulses).enumerate().map(row).collect();
    let mut text = Exposition::default();
    connections(&mut text, service, &rows);
    for (name, kind, help, of) in BY_REACTOR {
        text.family(name, *kind, help);
        for row in &rows {
            text.sample(&[("reactor", &row.reactor)], of(row));
        }
    }
    receipts(&mut text, service, &rows);
    service.store.iter().for_each(|store| stored(&mut text, store));
    ends(&mut text, &rows);
    times(&mut text, &rows);
    about_process(&mut text, service, &rows);
    Answer::new(200, CONTENT_TYPE, text.finish())
}

fn row((number, (figures, pulse)): (usize, (Figures, Pulse))) -> Row {
    let app = AppFigures::from_array(&figures.app);
    Row { reactor: number.to_string(), up: u64::from(pulse == Pulse::Beats), figures, app }
}

fn connections(text: &mut Exposition, service: &Service, rows: &[Row]) {
    text.family("mida_connections", Kind::Gauge, "Connections by state.");
    for row in rows {
        for (state, count) in State::ALL.iter().zip(row.figures.stats.connections) {
            text.sample(&[("reactor", &row.reactor), ("state", state.name())], count);
        }
    }
    text.family("mida_connections_max", Kind::Gauge, "Connections that the server takes.");
    text.sample(&[], u64::from(service.running.capacity()));
}

/// What senders were told, a backend among them.
fn receipts(text: &mut Exposition, service: &Service, rows: &[Row]) {
    let backend = service.backend.as_ref().map(Backend::counts).unwrap_or_default();
    text.family("mida_receipts_total", Kind::Counter, "Receipts by state, and why a message was refused.");
    type Of = fn(&AppFigures) -> u64;
    let kinds: [(&str, &str, Of); 7] = [
        ("delivered", "", |app| app.delivered),
        ("stored", "", |app| app.told_stored),
        ("refused", "offline", |app| app.refused_offline),
        ("refused", "mailbox_full", |app| app.refused_mailbox_full),
        ("refused", "store_full", |app| app.refused_store_full),
        ("refused", "id_reused", |app| app.refused_id_reused),
        ("refused", "forbidden", |app| app.refused_forbidden),
    ];
    for (state, code, of) in kinds {
        let count = rows.iter().map(|row| of(&row.app)).sum::<u64>() + of(&backend);
        text.sample(&[("state", state), ("code", code)], count);
    }
}

/// What the store's thread has done and holds.
fn stored(text: &mut Exposition, store: &store::Figures) {
    let mut one = |name, kind, help, of: &AtomicU64| {
        text.family(name, kind, help);
        text.sample(&[], of.load(Relaxed));
    };
    one("mida_store_messages", Kind::Gauge, "Messages that are not acked yet.", &store.messages);
    one("mida_store_accounts", Kind::Gauge, "Accounts.", &store.accounts);
    one("mida_store_bytes", Kind::Gauge, "What counts against --store-bytes.", &store.bytes);
    one("mida_store_disk_bytes", Kind::Gauge, "Size of the database's file.", &store.disk_bytes);
    one("mida_store_groups_total", Kind::Counter, "Groups of changes, each one commit.", &store.groups);
    one("mida_store_failures_total", Kind::Counter, "How often the disk has failed.", &store.failures);
}

/// How connections end.
fn ends(text: &mut Exposition, rows: &[Row]) {
    let sum = |of: &dyn Fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    text.family("mida_refusals_total", Kind::Counter, "Refused upgrades by HTTP status.");
    for (nth, refusal) in Refusal::ALL.iter().enumerate() {
        let labels = [("status", &*refusal.status().to_string()), ("reason", &format!("{refusal:?}"))];
        text.sample(&labels, sum(&|row| row.figures.stats.refusals[nth]));
    }
    text.family(
        "mida_closes_total",
        Kind::Counter,
        "Closed connections by code, and by who closed them first.",
    );
    for (nth, close) in Close::ALL.iter().enumerate() {
        let labels = [("by", "server"), ("code", &*close.code().to_string()), ("reason", close.phrase())];
        text.sample(&labels, sum(&|row| row.figures.stats.closes[nth]));
    }
    for (nth, code) in FAREWELLS.iter().enumerate() {
        let labels = [("by", "client"), ("code", *code), ("reason", "")];
        text.sample(&labels, sum(&|row| row.figures.stats.farewells[nth]));
    }
    let labels = [("by", "nobody"), ("code", "1006"), ("reason", "gone without a close frame")];
    text.sample(&labels, sum(&|row| row.figures.stats.broken));
}

fn times(text: &mut Exposition, rows: &[Row]) {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let help = "How long turns took; while one lasts, others on its core wait.";
    text.family("mida_turn_seconds", Kind::Histogram, help);
    for row in rows {
        let (reactor, turns) = (("reactor", &*row.reactor), &row.figures.turns);
        for (bound_ns, count) in turns.cumulative() {
            text.part("_bucket", &[reactor, ("le", &seconds(bound_ns).to_string())], count);
        }
        text.part("_bucket", &[reactor, ("le", "+Inf")], turns.count());
        text.part("_sum", &[reactor], seconds(turns.sum_ns()));
        text.part("_count", &[reactor], turns.count());
    }
    text.family("mida_turn_seconds_max", Kind::Gauge, "The longest turn so far.");
    for row in rows {
        text.sample(&[("reactor", &row.reactor)], seconds(row.figures.turns.max_ns()));
    }
    text.family("mida_timer_lag_seconds", Kind::Summary, "How late timers fired.");
    for row in rows {
        let stats = &row.figures.stats;
        text.part("_sum", &[("reactor", &row.reactor)], stats.timer_lag_ms as f64 / 1e3);
        text.part("_count", &[("reactor", &row.reactor)], stats.timers);
    }
    text.family("mida_timer_lag_seconds_max", Kind::Gauge, "The latest that a timer fired so far.");
    for row in rows {
        text.sample(&[("reactor", &row.reactor)], row.figures.stats.timer_lag_max_ms as f64 / 1e3);
    }
}

fn about_process(text: &mut Exposition, service: &Service, rows: &[Row]) {
    let mut one = |name, kind, help, value: Option<Value>| {
        if let Some(value) = value {
            text.family(name, kind, help);
            text.sample(&[], value);
        }
    };
    let started = service.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (resident, files) = (process::resident_bytes(), process::open_files(None));
    one("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", resident.map(Value::Whole));
    one("process_cpu_seconds_total", Kind::Counter, "CPU time.", Some(process::cpu_seconds().into()));
    one("process_start_time_seconds", Kind::Gauge, "Start, in Unix time.", Some(started.into()));
    let help = "Open descriptors of the main thread's table; reactors have their own.";
    one("process_open_fds", Kind::Gauge, help, files.map(Value::Whole));
    let uptime = service.clock.elapsed().as_secs_f64();
    one("mida_uptime_seconds", Kind::Gauge, "Time since the start.", Some(uptime.into()));
    text.family("mida_open_files", Kind::Gauge, "Open descriptors of the reactor's table.");
    for row in rows {
        if let Some(files) = process::open_files(Some(row.figures.thread)) {
            text.sample(&[("reactor", &row.reactor)], files);
        }
    }
    text.family("mida_build_info", Kind::Gauge, "The version that runs; always 1.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}
