//! Who may do what: lists of keys in files, and permissions by name.

use mida::app::{config::Permissions, crypto::key::Identity};
use serde::Deserialize;
use std::{collections::HashSet, path::Path};

/// In the file: what connections may do, by whether their key is proven.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    pub members: Option<Vec<String>>,
    pub anonymous: Option<Vec<String>>,
}

impl Table {
    /// What members may, and what others may.
    ///
    /// # Errors
    /// One line on the name that cannot be taken.
    pub fn permissions(&self) -> Result<(Permissions, Permissions), String> {
        let all = |who: &str, names: &[String]| {
            names.iter().try_fold(Permissions::NONE, |all, name| match Permissions::of(name) {
                Some(permission) => Ok(all.with(permission)),
                None => {
                    let known: Vec<_> = Permissions::ALL.names().collect();
                    Err(format!("permissions.{who}: there is no '{name}'; there are: {}", known.join(", ")))
                }
            })
        };
        let members = self.members.as_deref().map_or(Ok(Permissions::ALL), |names| all("members", names))?;
        let anonymous =
            self.anonymous.as_deref().map_or(Ok(Permissions::NONE), |names| all("anonymous", names))?;
        if !Permissions::JOIN.has(anonymous) {
            return Err(
                "permissions.anonymous: only topic.join, since a message names its sender's key".into()
            );
        }
        Ok((members, anonymous))
    }
}

/// Reads a list of keys, one a line; empty lines and what follows a # are left out.
///
/// # Errors
/// One line with the file, the place in it, and what is wrong there.
pub fn read(path: &Path) -> Result<HashSet<Identity>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let keys = text.lines().enumerate().filter_map(|(nth, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let key = || match Identity::parse_hex(line.as_bytes()) {
            Ok((identity, _)) => Ok(identity),
            Err(error) => Err(format!("{name}, line {}: {error}", nth + 1)),
        };
        (!line.is_empty()).then(key)
    });
    keys.collect()
}
