//! What `benches/load` measures with, one subcommand each: bare TCP relays (the floor that a proxy is compared with), an
//! origin and clients so cheap that the proxy's core is the bottleneck, and a loop that tells the machine's speed.
//!
//! Single-threaded all of them; the harness pins them to cores. An error ends the process: nothing here serves anybody
//! but the harness.

mod arguments;
mod hold;
mod http;
mod load;
mod load_http2;
mod net;
mod origin;
mod relay_epoll;
mod relay_splice;
mod relay_uring;
mod speed;
mod tls;

use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "\
corelane-floor relay-epoll  --port P --origin P   copies between clients and origin through one buffer
corelane-floor relay-splice --port P --origin P   moves pages between them through pipes
corelane-floor relay-uring  --port P --origin P   copies, by multishot receives in an io_uring
corelane-floor origin       --port P              answers /get-SIZE and /chunked-SIZE, swallows POST bodies
corelane-floor load --connections N --request FILE --counters FILE [--close] [--tls [--resume]] PORT...
                                                  closed loop; reads 'go INDEX', 'stop' and 'end' on stdin
corelane-floor load-http2 --connections N --streams N --path PATH --body-bytes N --counters FILE [--tls] PORT...
                                                  the same over HTTP/2, with so many streams on each connection
corelane-floor hold --connections N --port P --request FILE [--tls]
                                                  one request on each connection, then holds them until stdin ends
corelane-floor slow --connections N --port P --request FILE --rate BYTES
                                                  reads that many bytes a second on each, until stdin ends
corelane-floor speed --core N --other-core N      for each line on stdin: ns of a message on one core, of a cache line between two";

fn main() -> ExitCode {
    let mut arguments = Arguments::of_process();
    let done = match arguments.command().as_deref() {
        Some("relay-epoll") => relay_epoll::run(&mut arguments),
        Some("relay-splice") => relay_splice::run(&mut arguments),
        Some("relay-uring") => relay_uring::run(&mut arguments),
        Some("origin") => origin::run(&mut arguments),
        Some("load") => load::run(&mut arguments),
        Some("load-http2") => load_http2::run(&mut arguments),
        Some("hold") => hold::run(&mut arguments),
        Some("slow") => hold::run_slow(&mut arguments),
        Some("speed") => speed::run(&mut arguments),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelane-floor: {error}");
            ExitCode::FAILURE
        }
    }
}
