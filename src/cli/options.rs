//! The server's options: flags and the keys of the file are one list; a flag wins over the file.

mod keys;

use clap::{Args, ValueEnum};
use mida::{
    app::{config::Config, protocol::encode::AuthMode},
    engine::{limits::Limits, proxies::Cidr},
    server::{backend::Choice, listen::Address},
    store::Caps,
};
use serde::{Deserialize, Deserializer, de::Error};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub const REACTORS_PER_CORE_MAX: u32 = 1_024;
const STORE_BYTES_LEAST: u64 = 1 << 20;

/// Each field is a flag, and in the file a key of the same name.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Address to listen on, repeatable: 127.0.0.1:7700, [::1]:7700 or unix:PATH; port 0 picks one. Sockets that
    /// are passed in LISTEN_FDS are listened on too, and alone if none is given [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<Address>,
    /// Seconds over which connections are sent away with 1001 when the server ends or has a successor, 0 to
    /// 3600; 0: all at once [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub drain_seconds: Option<u64>,
    /// Processors to run on, like 0,2-3 [default: all allowed ones]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Reactors on each of them, 1 to 1024; the open-file limit bounds the connections of each [default: 1]
    #[arg(long, value_name = "N")]
    pub reactors_per_core: Option<u32>,
    /// How the kernel is asked: epoll, uring, or auto, which is uring where that works and else epoll
    /// [default: epoll]
    #[arg(long, value_name = "HOW")]
    pub io: Option<Choice>,
    /// Heartbeat in milliseconds, 100 to 3600000 [default: 30000]
    #[arg(long, value_name = "MS")]
    pub heartbeat: Option<u64>,
    /// Send everything after the first rules in batches, and take batches
    #[arg(long)]
    pub batching: bool,
    /// How a key is taken: proven by a signature, or as it is [default: signature]
    #[arg(long, value_enum, value_name = "HOW")]
    pub auth: Option<Auth>,
    /// Seconds from connecting to a passed authentication; 0: never required [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub auth_within: Option<u64>,
    /// Refuse the plain ecdsa scheme, which can be relayed: only mida-v1 passes
    #[arg(long)]
    pub bound_only: bool,
    /// Web origin that may connect, like https://chat.example, repeatable [default: the own host]
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// File of keys that may not log in and get no messages, one a line
    #[arg(long, value_name = "FILE")]
    pub blocked: Option<PathBuf>,
    /// File of keys that alone may log in and get messages, one a line [default: every key may]
    #[arg(long, value_name = "FILE")]
    pub allowed: Option<PathBuf>,
    /// Whether senders may learn that a key is connected [default: true]
    #[arg(long, value_name = "BOOL")]
    pub presence: Option<bool>,
    /// Serve no page to browsers that open the server's address
    #[arg(long)]
    pub no_page: bool,
    /// Name in the metadata [default: mida]
    #[arg(long)]
    pub name: Option<String>,
    /// Note in the metadata
    #[arg(long)]
    pub note: Option<String>,
    /// Announce maintenance in so many seconds from now
    #[arg(long, value_name = "SECONDS")]
    pub maintenance_in: Option<u64>,
    /// Host that clients dial, as in wss://HOST, repeatable; mida-v1 logins name it
    /// [default: localhost:PORT and the socket's own IP:PORT]
    #[arg(long, value_name = "HOST")]
    pub public_host: Vec<String>,
    /// Network of proxies that tell whose connections theirs are, by a PROXY header or X-Forwarded-For, repeatable
    /// [default: none]
    #[arg(long, value_name = "CIDR", value_parser = network)]
    #[serde(deserialize_with = "networks")]
    pub trusted_proxy: Vec<Cidr>,
    /// Directory of messages and accounts, made if it is not there [default: ./mida-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Keep no messages and no accounts
    #[arg(long, conflicts_with = "data")]
    pub ephemeral: bool,
    /// Days for which a message is kept that nobody acks, 1 to 3650 [default: 30]
    #[arg(long, value_name = "N")]
    pub keep_days: Option<u64>,
    /// Bytes of all messages and accounts, at least 1048576 [default: 1073741824]
    #[arg(long, value_name = "N")]
    pub store_bytes: Option<u64>,
    /// Connections of the whole server [default: what the open-file limit allows]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Address for metrics, health, and what the operator and a backend ask and send over HTTP [default: none]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub admin: Option<SocketAddr>,
    /// File with the token that the admin address asks for, 16 to 512 visible characters
    #[arg(long, value_name = "FILE")]
    pub admin_token: Option<PathBuf>,
    /// Host that requests to the admin address may name, repeatable [default: localhost and its own]
    #[arg(long, value_name = "HOST")]
    pub admin_host: Vec<String>,
    /// A limit of PROTOCOL.md, repeatable; 0 takes it away
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit)]
    #[serde(skip)]
    pub limit: Vec<(String, u64)>,
    /// In the file: a table of limits.
    #[arg(skip)]
    pub limits: BTreeMap<String, u64>,
    /// In the file: a table of what members and others may do.
    #[arg(skip)]
    pub permissions: keys::Table,
    /// In the file: a table of further public fields of the metadata.
    #[arg(skip)]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    Signature,
    Key,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write it like 127.0.0.1:7700 or [::1]:7700".to_owned())
}

fn network(text: &str) -> Result<Cidr, String> {
    text.parse().map_err(|error| format!("'{text}' is no network: {error}"))
}

fn networks<'de, D: Deserializer<'de>>(file: D) -> Result<Vec<Cidr>, D::Error> {
    Vec::<String>::deserialize(file)?.iter().map(|text| network(text).map_err(D::Error::custom)).collect()
}

fn limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("write it like message_bytes=65536")?;
    let value = value.parse().map_err(|_| format!("the value of {name} is a whole number"))?;
    Limits::default().set(name, value).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value))
}

/// Whether these can be hosts, as in a URL.
///
/// # Errors
/// One line on the first that can't; it ends with `like`, an example.
pub fn check_hosts(hosts: &[String], like: &str) -> Result<(), String> {
    let is_none =
        |host: &&String| host.is_empty() || host.contains(['/', ' ', '@']) || **host != host.to_lowercase();
    match hosts.iter().find(is_none) {
        Some(host) => Err(format!("'{host}' is no host: write it in lower case, like {like}")),
        None => Ok(()),
    }
}

impl Options {
    /// Reads a file of options.
    ///
    /// # Errors
    /// One line with the file, the place in it, and what is wrong there.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("{name}, line {line}: {}", error.message().replace('\n', " "))
        })
    }

    /// These options, and where they say nothing, those of the file.
    pub fn over(self, file: Self) -> Self {
        let mut limits = file.limits;
        limits.extend(self.limit.iter().cloned());
        fn list<T>(own: Vec<T>, other: Vec<T>) -> Vec<T> {
            if own.is_empty() { other } else { own }
        }
        Self {
            listen: list(self.listen, file.listen),
            drain_seconds: self.drain_seconds.or(file.drain_seconds),
            cores: self.cores.or(file.cores),
            reactors_per_core: self.reactors_per_core.or(file.reactors_per_core),
            io: self.io.or(file.io),
            heartbeat: self.heartbeat.or(file.heartbeat),
            batching: self.batching || file.batching,
            auth: self.auth.or(file.auth),
            auth_within: self.auth_within.or(file.auth_within),
            bound_only: self.bound_only || file.bound_only,
            allow_origin: list(self.allow_origin, file.allow_origin),
            blocked: self.blocked.or(file.blocked),
            allowed: self.allowed.or(file.allowed),
            presence: self.presence.or(file.presence),
            no_page: self.no_page || file.no_page,
            name: self.name.or(file.name),
            note: self.note.or(file.note),
            maintenance_in: self.maintenance_in.or(file.maintenance_in),
            public_host: list(self.public_host, file.public_host),
            trusted_proxy: list(self.trusted_proxy, file.trusted_proxy),
            ephemeral: self.ephemeral || file.ephemeral && self.data.is_none(),
            // One that the file names says nothing to who wants none.
            data: if self.ephemeral { None } else { self.data.or(file.data) },
            keep_days: self.keep_days.or(file.keep_days),
            store_bytes: self.store_bytes.or(file.store_bytes),
            max_connections: self.max_connections.or(file.max_connections),
            admin: self.admin.or(file.admin),
            admin_token: self.admin_token.or(file.admin_token),
            admin_host: list(self.admin_host, file.admin_host),
            limit: Vec::new(),
            limits,
            permissions: file.permissions,
            metadata: file.metadata,
        }
    }

    /// How many reactors each core gets.
    ///
    /// # Errors
    /// One line that says how many there may be.
    pub fn reactors_per_core(&self) -> Result<usize, String> {
        match self.reactors_per_core.unwrap_or(1) {
            reactors @ 1..=REACTORS_PER_CORE_MAX => Ok(reactors as usize),
            reactors => Err(format!("reactors-per-core is 1 to {REACTORS_PER_CORE_MAX}, not {reactors}")),
        }
    }

    /// Where messages are kept, and how many; none: they are not.
    ///
    /// # Errors
    /// One line on the option that cannot be taken.
    pub fn store(&self) -> Result<Option<(&Path, Caps)>, String> {
        let days = self.keep_days.unwrap_or(30);
        if !(1..=3_650).contains(&days) {
            return Err(format!("keep-days is 1 to 3650, not {days}"));
        }
        let mut caps = Caps::default().keep_days(days);
        caps.store_bytes = self.store_bytes.unwrap_or(caps.store_bytes);
        if caps.store_bytes < STORE_BYTES_LEAST {
            return Err(format!("store-bytes is at least {STORE_BYTES_LEAST}, not {}", caps.store_bytes));
        }
        match (&self.data, self.ephemeral) {
            (Some(_), true) => Err("data and ephemeral contradict each other".to_owned()),
            (None, true) => Ok(None),
            (data, false) => Ok(Some((data.as_deref().unwrap_or(Path::new("mida-data")), caps))),
        }
    }

    /// How long it takes to send everybody away.
    ///
    /// # Errors
    /// One line that says how long it may take.
    pub fn drain(&self) -> Result<Duration, String> {
        match self.drain_seconds.unwrap_or(5) {
            seconds @ 0..=3_600 => Ok(Duration::from_secs(seconds)),
            seconds => Err(format!("drain-seconds is 0 to 3600, not {seconds}")),
        }
    }

    /// The limits.
    ///
    /// # Errors
    /// One line on the limit that cannot be taken.
    pub fn limits(&self) -> Result<Limits, String> {
        let mut limits = Limits::default();
        for (name, value) in &self.limits {
            limits.set(name, *value).map_err(|error| error.to_string())?;
        }
        limits.check().map_err(|error| error.to_string())?;
        Ok(limits)
    }

    /// The service these options describe; `now_ms` is the server's time.
    ///
    /// # Errors
    /// One line on the option that cannot be taken.
    pub fn config(&self, now_ms: u64) -> Result<Config, String> {
        let limits = Arc::new(self.limits()?);
        self.drain()?;
        self.store()?;
        let heartbeat_ms = self.heartbeat.unwrap_or(30_000);
        if !(100..=3_600_000).contains(&heartbeat_ms) {
            return Err(format!("heartbeat is 100 to 3600000 milliseconds, not {heartbeat_ms}"));
        }
        for origin in &self.allow_origin {
            let host = origin.split_once("://").map(|(_, host)| host);
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
                return Err(format!("'{origin}' is no origin: write it like https://chat.example"));
            }
        }
        check_hosts(&self.public_host, "chat.example or chat.example:8443")?;
        let public = serde_json::to_string(&self.metadata).map_err(|error| error.to_string())?;
        let own = ["name", "online", "uptime", "maintenanceIn", "note"];
        if let Some(name) = own.iter().find(|name| self.metadata.contains_key(**name)) {
            return Err(format!("metadata.{name} is the server's own field: set it by its option"));
        }
        let (members, anonymous) = self.permissions.permissions()?;
        let keys = |path: &Option<PathBuf>| path.as_deref().map(keys::read).transpose();
        let config = Config {
            name: self.name.clone().unwrap_or_else(|| "mida".to_owned()),
            note: self.note.clone(),
            maintenance_at_ms: self.maintenance_in.map(|s| now_ms.saturating_add(s.saturating_mul(1_000))),
            public: public[1..public.len() - 1].to_owned(),
            heartbeat_ms,
            batching: self.batching,
            auth: match self.auth {
                Some(Auth::Key) => AuthMode::Key,
                Some(Auth::Signature) | None => AuthMode::Signature,
            },
            auth_within_ms: self.auth_within.unwrap_or(0).saturating_mul(1_000),
            bound_only: self.bound_only,
            origins: self.allow_origin.clone(),
            hosts: self.public_host.clone(),
            members,
            anonymous,
            blocked: Arc::new(keys(&self.blocked)?.unwrap_or_default()),
            allowed: keys(&self.allowed)?.map(Arc::new),
            presence: self.presence.unwrap_or(true),
            page: !self.no_page,
            limits,
        };
        let mut metadata = Vec::new();
        mida::app::protocol::encode::metadata(&mut metadata, &config.metadata(u64::MAX, u64::MAX));
        if metadata.len() > config.limits.message_bytes as usize {
            return Err("name, note and metadata together are longer than message_bytes".to_owned());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mida::app::config::Permissions;

    fn file(text: &str) -> Result<Options, String> {
        let path = std::env::temp_dir().join(format!("mida-options-{}-{:p}", std::process::id(), text));
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        let options = Options::read(&path);
        let _ = std::fs::remove_file(path);
        options
    }

    #[test]
    fn every_flag_is_a_key_and_flags_win() {
        let text = r#"
            listen = ["127.0.0.1:1", "[::1]:2", "unix:/run/mida.sock"]
            drain-seconds = 7
            cores = "0"
            reactors-per-core = 3
            heartbeat = 500
            batching = true
            auth = "key"
            auth-within = 9
            bound-only = true
            allow-origin = ["https://a.example"]
            no-page = true
            name = "file"
            note = "from file"
            maintenance-in = 60
            public-host = ["a.example"]
            trusted-proxy = ["10.0.0.0/8", "::1"]
            data = "/var/lib/mida"
            keep-days = 3
            store-bytes = 2000000
            max-connections = 10
            admin = "127.0.0.1:9090"
            admin-token = "token"
            admin-host = ["mida.internal"]
            presence = false
            [permissions]
            members = ["send", "topic.join"]
            anonymous = ["topic.join"]
            [limits]
            fragments = 3
            message_ms = 0
            [metadata]
            region = "eu"
        "#;
        let file = file(text).unwrap();
        let flags = Options {
            name: Some("flag".to_owned()),
            limit: vec![("fragments".to_owned(), 4)],
            ..Options::default()
        };
        let options = flags.over(file);
        let config = options.config(1_000).unwrap();
        assert_eq!((config.name.as_str(), config.note.as_deref()), ("flag", Some("from file")));
        let may = |permissions: Permissions| permissions.names().collect::<Vec<_>>();
        assert_eq!(
            (may(config.members), may(config.anonymous)),
            (vec!["send", "topic.join"], vec!["topic.join"])
        );
        assert_eq!((config.presence, config.blocked.len(), config.allowed.is_none()), (false, 0, true));
        assert_eq!((config.limits.fragments, config.limits.message_ms), (4, u64::MAX));
        assert_eq!((config.auth, config.auth_within_ms, config.bound_only), (AuthMode::Key, 9_000, true));
        assert_eq!((config.maintenance_at_ms, config.public.as_str()), (Some(61_000), r#""region":"eu""#));
        assert_eq!((options.listen.len(), options.max_connections, config.heartbeat_ms), (3, Some(10), 500));
        assert_eq!(options.reactors_per_core(), Ok(3));
        assert_eq!(options.trusted_proxy, ["10.0.0.0/8", "::1"].map(|text| text.parse().unwrap()));
        assert_eq!(options.drain(), Ok(Duration::from_secs(7)));
        let (data, caps) = options.store().unwrap().unwrap();
        assert_eq!((data, caps.store_bytes), (Path::new("/var/lib/mida"), 2_000_000));
        assert_eq!((caps.keep_ms, caps.unseen_keep_ms), (3 * 86_400_000, 3 * 86_400_000));
        assert_eq!(options.admin, Some(([127, 0, 0, 1], 9090).into()));
        assert_eq!((options.admin_token, options.admin_host.len()), (Some("token".into()), 1));
        assert_eq!((config.hosts, config.origins.len(), config.batching), (options.public_host, 1, true));
        assert!(!config.page);
    }

    #[test]
    fn keys_are_read_one_a_line() {
        let path = std::env::temp_dir().join(format!("mida-keys-{}", std::process::id()));
        let key = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
        std::fs::write(&path, format!("# those who spam\n\n {key} # this one\n{}\n", key.to_uppercase()))
            .unwrap();
        let options =
            Options { blocked: Some(path.clone()), allowed: Some(path.clone()), ..Options::default() };
        let config = options.config(0).unwrap();
        assert_eq!((config.blocked.len(), config.allowed.unwrap().len()), (1, 1));
        std::fs::write(&path, format!("{key}\n{}\n", &key[1..])).unwrap();
        let error = options.config(0).unwrap_err();
        assert!(error.ends_with(", line 2: a key is 66 or 130 hex digits"), "{error}");
        let _ = std::fs::remove_file(path);
    }

    #[test]
    fn a_flag_decides_whether_anything_is_kept() {
        let kept = |flags: &[&str], text: &str| {
            let keeps = Options { data: None, ephemeral: false, ..Options::default() };
            let flags = Options {
                data: flags.contains(&"data").then(|| "flag".into()),
                ephemeral: flags.contains(&"ephemeral"),
                ..keeps
            };
            let options = flags.over(file(text).unwrap());
            options.store().unwrap().map(|(data, _)| data.to_str().unwrap().to_owned())
        };
        assert_eq!(kept(&[], "name = 'a'").as_deref(), Some("mida-data"));
        assert_eq!(kept(&["ephemeral"], "data = 'file'\nname = 'b'"), None);
        assert_eq!(kept(&["data"], "ephemeral = true").as_deref(), Some("flag"));
        assert_eq!(kept(&[], "data = 'file'").as_deref(), Some("file"));
    }

    #[test]
    fn what_cannot_be_taken_is_said_in_one_line() {
        for (text, says) in [
            ("heartbeat = 99", "heartbeat is 100"),
            ("drain-seconds = 3601", "drain-seconds is 0"),
            ("keep-days = 0", "keep-days is 1"),
            ("store-bytes = 1000", "store-bytes is at least"),
            ("data = 'x'\nephemeral = true", "contradict"),
            ("name = 3", "line 1"),
            ("\nnmae = 'x'", "line 2"),
            ("listen = ['nowhere']", "line 1"),
            ("listen = ['unix:']", "line 1"),
            ("allow-origin = ['chat.example']", "no origin"),
            ("public-host = ['wss://chat.example']", "no host"),
            ("\ntrusted-proxy = ['10.0.0.1/8']", "line 2: '10.0.0.1/8' is no network"),
            ("[limits]\nfragment = 1", "no limit is called"),
            ("[limits]\nqueue_soft_bytes = 9999999", "queue_soft_bytes"),
            ("[metadata]\nonline = 1", "own field"),
            ("[permissions]\nmembers = ['sing']", "there is no 'sing'; there are: send"),
            ("[permissions]\nanonymous = ['send']", "only topic.join"),
            ("[permissions]\nguests = []", "line 2"),
            ("blocked = '/nonexistent/keys'", "cannot read /nonexistent/keys"),
        ] {
            let error =
                file(text).and_then(|options| Options::default().over(options).config(0)).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
        assert!(Options::read(Path::new("/nonexistent/mida.toml")).unwrap_err().contains("cannot read"));
    }
}
