//! HTTP/2: a client that says any frames, and some that are nearly right. What must hold is asserted in
//! `engine/src/h2/scripted.rs`, where the streams are.

#![no_main]

use corelane_engine::http2_scripted::converse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    converse(data);
});
