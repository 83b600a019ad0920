//! TLS: a conversation that is altered on the way, and bytes in place of a handshake. What must hold is asserted in
//! `engine/src/tls/altered.rs`, where the streams are.

#![no_main]

use corelane_engine::tls::altered;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&selector, rest)) = data.split_first() else { return };
    if selector % 4 == 0 {
        altered::receive(rest);
    } else {
        altered::converse(rest);
    }
});
