//! The hosts that a server answers to where its operator names none, for each address it is reached at.

use std::net::SocketAddr;

/// Their names, written once for each address: there are as many as the server has addresses of its own.
#[derive(Default)]
pub struct OwnHosts(Vec<(SocketAddr, Vec<String>)>);

impl OwnHosts {
    /// `localhost:PORT` and the address itself, as a URL has them; none where it is not known.
    pub fn of(&mut self, local: Option<SocketAddr>) -> &[String] {
        let Some(local) = local else { return &[] };
        let at = match self.0.iter().position(|(known, _)| *known == local) {
            Some(at) => at,
            None => {
                self.0.push((local, names(local)));
                self.0.len() - 1
            }
        };
        self.0.get(at).map_or(&[], |(_, names)| names)
    }
}

fn names(local: SocketAddr) -> Vec<String> {
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let mut names = vec![format!("localhost:{}", local.port()), local.to_string()];
    if matches!(local.port(), 80 | 443) {
        // A URL leaves its default port out.
        let bare = |name: &String| name.rsplit_once(':').map(|(host, _)| host.to_owned());
        let bare: Vec<_> = names.iter().filter_map(bare).collect();
        names.extend(bare);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_as_urls_name_it() {
        let mut hosts = OwnHosts::default();
        assert!(hosts.of(None).is_empty());
        let cases: [(&str, &[&str]); 5] = [
            ("127.0.0.1:7700", &["localhost:7700", "127.0.0.1:7700"]),
            ("[::1]:7700", &["localhost:7700", "[::1]:7700"]),
            ("[::ffff:10.1.2.3]:7700", &["localhost:7700", "10.1.2.3:7700"]),
            ("10.1.2.3:443", &["localhost:443", "10.1.2.3:443", "localhost", "10.1.2.3"]),
            ("[2001:db8::1]:80", &["localhost:80", "[2001:db8::1]:80", "localhost", "[2001:db8::1]"]),
        ];
        for _ in 0..2 {
            for (local, names) in cases {
                assert_eq!(hosts.of(local.parse().ok()), names, "{local}");
            }
        }
        assert_eq!(hosts.0.len(), cases.len());
    }
}
