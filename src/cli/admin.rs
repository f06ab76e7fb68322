//! `--admin`: whom the admin address answers.

use super::{
    options::{Options, check_hosts},
    secret_file,
};
use mida::server::admin::{Guard, Token};

/// The guard that these options ask for, and a warning for the owner of the token's file.
///
/// # Errors
/// One line on what is missing or wrong.
pub fn guard(options: &Options) -> Result<(Guard, Option<String>), String> {
    let is_public = options.admin.is_some_and(|address| !address.ip().is_loopback());
    let (mut token, mut warning) = (None, None);
    if let Some(path) = &options.admin_token {
        let name = path.display();
        let read = secret_file::read(path, "admin token");
        let (secret, warns) = read.map_err(|error| format!("cannot read {name}: {error}"))?;
        token = Some(Token::new(&secret).map_err(|problem| format!("{name} holds no token: {problem}"))?);
        warning = warns;
    } else if is_public {
        return Err("admin listens for other machines: it needs admin-token".to_owned());
    }
    check_hosts(&options.admin_host, "mida.internal or mida.internal:9090")?;
    Ok((Guard { token, hosts: options.admin_host.clone(), is_public }, warning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn others_are_only_listened_to_with_a_token_of_which_enough_is_there() {
        let path = std::env::temp_dir().join(format!("mida-admin-{}", std::process::id()));
        let file = Some(path.clone());
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let at = |address: &str, admin_token: &Option<_>| {
            let admin = address.parse().ok();
            guard(&Options { admin, admin_token: admin_token.clone(), ..Options::default() })
        };
        assert!(at("127.0.0.1:1", &None).is_ok_and(|(guard, _)| !guard.is_public && guard.token.is_none()));
        assert!(at("[::1]:1", &None).is_ok_and(|(guard, _)| !guard.is_public));
        assert!(at("0.0.0.0:1", &None).is_err_and(|error| error.contains("admin-token")));
        assert!(
            at("10.0.0.1:1", &Some("/nonexistent".into())).is_err_and(|error| error.contains("cannot read"))
        );
        write("0123456789abcdef\n", 0o600);
        assert!(at("0.0.0.0:1", &file).is_ok_and(|(guard, warns)| guard.is_public && warns.is_none()));
        write("0123456789abcdef", 0o644);
        assert!(at("127.0.0.1:1", &file).is_ok_and(|(_, warns)| warns.is_some_and(|w| w.contains("644"))));
        write("too short", 0o600);
        let error = at("0.0.0.0:1", &file).err().unwrap();
        assert!(error.contains("holds no token") && !error.contains("too short"), "{error}");
        fs::remove_file(&path).unwrap();
        let admin_host = vec!["http://x".to_owned()];
        assert!(guard(&Options { admin_host, ..Options::default() }).is_err());
    }
}
