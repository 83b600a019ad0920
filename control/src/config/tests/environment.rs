//! Values from the environment.

use std::ffi::OsString;

use super::completed;
use crate::config::{Config, load_with};

fn environment(name: &str) -> Option<OsString> {
    Some(match name {
        "PORT" => "9000".into(),
        "SECRET" => "hunter two".into(),
        "NUMBER" => "7".into(),
        _ => return None,
    })
}

fn loaded(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, completed(text)).unwrap();
    let place = format!("{}:", path.display());
    let loaded = load_with(&path, &environment);
    loaded.map(|loaded| loaded.config).map_err(|errors| errors.to_string().replace(&place, ""))
}

#[test]
fn stands_in_strings_numbers_and_sizes() {
    let config = loaded(
        "process = { workers = \"${NUMBER}\", drain_timeout = \"${NUMBER}s\" }\n\
         [[listeners]]\naddress = \"127.0.0.1:${PORT}\"\nname = \"${NUMBER}\"\nfields_max = \"${NONE:-9}\"\n\
         head_bytes_max = \"${NONE:-2048}\"\nfield_bytes_max = \"${NONE:-4KiB}\"\n\
         [[routes]]\nupstream = \"api\"\nlisteners = [\"${NUMBER}\"]\npath = { prefix = \"/$${x}\" }\n\
         [upstreams.api]\nendpoints = [{ address = \"127.0.0.1:1${NUMBER}\", weight = \"${NUMBER}\" }]\n",
    )
    .unwrap();
    assert_eq!((config.process.workers, config.process.drain_timeout.as_secs()), (Some(7), 7));
    let listener = &config.listeners[0];
    assert_eq!((listener.address.to_string().as_str(), &*listener.name), ("127.0.0.1:9000", "7"));
    assert_eq!((listener.fields_max, listener.head_bytes_max), (9, 2048));
    assert_eq!(listener.limits.field_bytes_max, 4096);
    assert_eq!(config.routes[0].path.to_string(), "/${x}");
    assert_eq!(config.upstreams[0].endpoints[0].weight, 7);
}

#[test]
fn is_not_shown_in_errors() {
    for (text, expected) in [
        (
            "[admin]\naddress = \"${SECRET}\"\n",
            "2:11: the value of ${SECRET} is not allowed for address; allowed: IPv4:port, [IPv6]:port or unix:/path, not a listener's",
        ),
        (
            "[process]\nworkers = \"${SECRET}\"\n",
            "2:11: the value of ${SECRET} is not allowed for workers; allowed: \"auto\" or 1 to 1024",
        ),
        (
            "[[routes]]\nname = \"a\"\nupstream = \"x${SECRET}${NUMBER}\"\n",
            "3:12: the value of ${SECRET}, ${NUMBER} is not allowed here",
        ),
        (
            "[resolver]\nservers = [\"127.0.0.1\", \"${SECRET}\", \"x${SECRET}\"]\n",
            "2:25: the value of ${SECRET} is not allowed for servers; allowed: one or more IP addresses, with or without a port (53)\n\
             2:38: the value of ${SECRET} is not allowed for servers; allowed: one or more IP addresses, with or without a port (53)",
        ),
        (
            "[[error_pages]]\nstatuses = [503]\nbody = \"{${SECRET}}${NUMBER}{stats}\"\n",
            "3:8: the value of ${SECRET}, ${NUMBER} is not allowed here",
        ),
        // A default stands in the file.
        (
            "[process]\ndriver = \"${NONE:-epol}\"\n",
            "2:10: driver \"epol\" is not one of the choices; did you mean \"epoll\"? (allowed: \"auto\", \"io_uring\", \"epoll\")",
        ),
    ] {
        assert_eq!(loaded(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn is_told_where_it_is_missing() {
    let text = "[process]\nworkers = \"${NONE}\"\ndriver = \"${\"\n[[listeners]]\naddress = \"${NONE}\"\n\
                [[routes]]\nupstream = \"${NONE}\"\n[upstreams.\"${NONE}\"]\nendpoints = [\"${1}\"]\n";
    let unset = "the environment variable NONE is not set; set it, or write a default: ${NONE:-...}";
    let expected = [
        format!("2:11: {unset}"),
        "3:10: \"${\" is never closed; } is missing, or write $${ for the text ${".to_owned(),
        format!("5:11: {unset}"),
        format!("7:12: {unset}"),
        "9:14: \"1\" is not the name of a variable; write ${NAME} or ${NAME:-default}, or $${ for the text ${".to_owned(),
    ];
    assert_eq!(loaded(text).unwrap_err(), expected.join("\n"));
}

#[test]
fn leaves_keys_and_what_it_holds_alone() {
    let config = loaded(
        "[upstreams.\"${NONE}\"]\nendpoints = [\"127.0.0.1:1\"]\n[[routes]]\nupstream = \"$${NONE}\"\n",
    )
    .unwrap();
    assert_eq!(&*config.upstreams[0].name, "${NONE}");
}
