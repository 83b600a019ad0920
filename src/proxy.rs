//! `corelane proxy`: a configuration from the command line, which goes through the same checks as a file.

use std::fmt::Write as _;

/// The text of a configuration with one listener, one route and one upstream.
pub(crate) fn config_text(from: &str, to: &[String], admin: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(admin) = admin {
        let _ = writeln!(text, "[admin]\naddress = {}\n", quoted(admin));
    }
    let _ = writeln!(text, "[[listeners]]\nname = \"from\"\naddress = {}\n", quoted(from));
    let _ = writeln!(text, "[[routes]]\nname = \"all\"\npath = {{ prefix = \"/\" }}\nupstream = \"to\"\n");
    let endpoints: Vec<String> = to.iter().map(|address| quoted(address)).collect();
    let _ = writeln!(text, "[upstreams.to]\nendpoints = [{}]", endpoints.join(", "));
    text
}

/// As a basic string of TOML, whatever is in it: a shell has put its variables in already.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_control::config::{Config, ConfigErrors, parse};

    fn parsed(from: &str, to: &[&str], admin: Option<&str>) -> Result<Config, ConfigErrors> {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        parse("command line", &config_text(from, &to, admin))
    }

    #[test]
    fn carries_the_addresses() {
        let to = ["127.0.0.1:3000", "app.test:3001", "unix:/run/app", "https://far.test"];
        let config = parsed("0.0.0.0:8080", &to, Some("127.0.0.1:9900")).expect("is right");
        assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8080");
        assert_eq!(config.upstreams[0].endpoints.len(), 4);
        assert!(config.upstreams[0].tls.is_some());
        assert_eq!(config.admin.expect("is on").address.to_string(), "127.0.0.1:9900");
        assert!(parsed("[::]:80", &["b:1"], None).expect("is right").admin.is_none());
    }

    #[test]
    fn an_argument_cannot_add_keys() {
        let errors = parsed("a\"\nnonsense = 3 \\ # \u{7f}", &["b:1"], None).expect_err("is no address");
        assert_eq!(errors.iter().count(), 1, "{errors}");
        assert!(!errors.to_string().contains("unknown"), "{errors}");
        let errors = parsed("${HOME}", &["b:1"], None).expect_err("is no address");
        assert!(errors.to_string().contains("\"${HOME}\" has no port"), "{errors}");
    }
}
