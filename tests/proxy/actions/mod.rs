//! What a route does with its requests: splits, clients that stay, mirrors, timeouts of its own.

mod mirror;
mod split;
mod timeouts;

use crate::support::{Launch, Origin, ok};

/// An origin that answers with its own name.
fn named(name: &'static str) -> Origin {
    Origin::answering(ok(name))
}

/// A configuration with one listener, a route `all` with these lines, and these upstreams.
fn config(workers: usize, route: &str, upstreams: &[(&str, &str)]) -> String {
    let upstreams: String = upstreams
        .iter()
        .map(|(name, address)| {
            format!(
                "[upstreams.{name}]\nendpoints = [\"{address}\"]\nconnect_timeout = \"500ms\"\n\
                 response_head_timeout = \"5s\"\n"
            )
        })
        .collect();
    format!(
        "[process]\nworkers = {workers}\ndrain_timeout = \"2s\"\n\
         [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:@web@\"\n\
         [[routes]]\nname = \"all\"\n{route}\n{upstreams}"
    )
}

/// The same, to be started.
fn launch(workers: usize, route: &str, upstreams: &[(&str, &str)]) -> Launch {
    Launch::new(&config(workers, route, upstreams))
}
