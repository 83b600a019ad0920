//! Where the state of a running proxy is asked for.

use std::ffi::OsStr;
use std::path::Path;

use corelane_engine::snapshot::Address;
use hyper::StatusCode;

use super::State;
use crate::config::Loaded;
use crate::options::ConfigSource;
use crate::remote::Admin;

/// A proxy that can be asked for its [`State`].
#[derive(Clone, Debug)]
pub struct Source(Admin);

impl Source {
    /// What `place` names: `http://host:port`, `unix:/path` or `host:port`; all else is a configuration file, whose
    /// `[admin] address` is taken.
    ///
    /// # Errors
    ///
    /// A sentence: the address is none; or every error of the file; or it has no `[admin]`.
    pub fn named(place: &OsStr) -> Result<Self, String> {
        let text = place.to_str().unwrap_or_default();
        if let Some(admin) = Admin::named(text) {
            return admin.map(Self);
        }
        if !Path::new(place).exists() && Admin::has_port(text) {
            return Ok(Self(Admin::Tcp(text.to_owned())));
        }
        let source = ConfigSource::File(place.into());
        let Loaded { config, .. } = source.load().map_err(|errors| format!("{errors}\n{ADVICE}"))?;
        let admin = config.admin.ok_or_else(|| format!("{}: has no [admin] address", place.display()))?;
        Ok(Self(match admin.address {
            Address::Tcp(address) => Admin::Tcp(reachable(address).to_string()),
            Address::Unix(path) => Admin::Unix(path),
        }))
    }

    /// Asks, and waits for the answer; at most 10 s. While nobody else watches it takes a second.
    ///
    /// # Errors
    ///
    /// A sentence that says why there is none.
    pub fn ask(&self) -> Result<State, String> {
        self.ask_for_both().map(|(state, _)| state)
    }

    /// The same as it comes: one line of JSON.
    ///
    /// # Errors
    ///
    /// Those of [`Source::ask`].
    pub fn ask_text(&self) -> Result<String, String> {
        self.ask_for_both().map(|(_, text)| text)
    }

    fn ask_for_both(&self) -> Result<(State, String), String> {
        let answer = self.0.get("/status.json")?;
        let state = match answer.status {
            // Whoever listens there may answer everything with 200.
            StatusCode::OK => serde_json::from_str(&answer.text).ok(),
            StatusCode::NOT_FOUND => None,
            status => return Err(self.0.failed(&format!("{status}: {}", answer.text.trim_end()))),
        };
        let state =
            state.ok_or_else(|| self.0.failed(&"it has no /status.json; is it the admin address?"))?;
        Ok((state, answer.text))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

const ADVICE: &str =
    "a file with errors does not say where: name the [admin] address itself, --admin HOST:PORT";

/// Who listens on every address is asked on the loopback one.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_file_with_one_says_where() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("edge.toml");
        let named = |text: &str| {
            std::fs::write(&file, text).expect("writes");
            Source::named(file.as_os_str()).map(|source| source.to_string())
        };
        let rest = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                    [[routes]]\nname = \"all\"\nupstream = \"app\"\n[upstreams.app]\nendpoints = [\"127.0.0.1:2\"]\n";
        for (address, source) in [
            ("127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("0.0.0.0:9900", "http://127.0.0.1:9900"),
            ("[::]:9900", "http://[::1]:9900"),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ] {
            let named = named(&format!("[admin]\naddress = \"{address}\"\n{rest}"));
            assert_eq!(named.as_deref(), Ok(source), "{address}");
        }
        assert!(named(rest).is_err_and(|why| why.ends_with("has no [admin] address")));
        assert!(named("listeners = 1").is_err_and(|why| why.contains("edge.toml:1:")));
        for (place, source) in [
            ("http://[::1]:9900/", "http://[::1]:9900"),
            ("127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("localhost:9900", "http://localhost:9900"),
            ("unix:/a", "unix:/a"),
        ] {
            assert_eq!(Source::named(place.as_ref()).map(|it| it.to_string()).as_deref(), Ok(source));
        }
        assert!(Source::named("https://a:1".as_ref()).is_err());
        assert!(Source::named("missing.toml".as_ref()).is_err());
    }
}
