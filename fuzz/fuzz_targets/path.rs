//! Paths against an independent reader, and what holds for any canonical form: it is its own, and holds nothing that
//! servers disagree about.

#![no_main]

use corelane_fuzz::path::{Policies, Policy, canonicalise};
use corelane_semantics::{PathBuffers, PathPolicies, PathPolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first_chunk::<2>() else { return };
    if rest.iter().any(|&byte| byte <= b' ' || byte == 0x7f || byte == b'?' || byte == b'#') {
        // No target has these in its path.
        return;
    }
    let path = [b"/", rest].concat();
    let (policies, strict) = policies(u16::from_le_bytes(*selector));
    let mut buffers = PathBuffers::default();
    let expected = canonicalise(&latin1(&path), &strict);
    let paths = buffers.canonicalise(&path, &policies);
    assert_eq!(
        paths.map(|paths| (latin1(paths.canonical), latin1(paths.forwarded))).ok(),
        expected,
        "{}",
        path.escape_ascii()
    );
    let Some((canonical, forwarded)) = expected else { return };
    // The same memory again.
    let again = buffers.canonicalise(canonical.as_bytes(), &policies).expect("a canonical form");
    assert_eq!((latin1(again.canonical), latin1(again.forwarded)), (canonical.clone(), canonical.clone()));
    let forwarded_bytes: Vec<u8> = forwarded.chars().map(|c| c as u8).collect();
    let again = buffers.canonicalise(&forwarded_bytes, &policies).expect("what may be forwarded");
    assert_eq!(latin1(again.canonical), canonical);
    assert!(canonical.starts_with('/') && canonical.bytes().all(|byte| byte.is_ascii_graphic()));
    for wrong in ["//", "/./", "/../", ";", "\\", "%2F", "%2f", "%5C", "%5c"] {
        assert!(!canonical.contains(wrong), "{wrong} in {canonical}");
    }
    assert!(!canonical.ends_with("/.") && !canonical.ends_with("/.."));
});

/// Each byte as a character.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The policies that a number stands for, 0 for those of a listener that says nothing.
fn policies(selector: u16) -> (PathPolicies, Policies) {
    use PathPolicy::{Normalise, Pass, Reject};
    let mut rest = selector;
    let mut next = |default: [PathPolicy; 3]| {
        let policy = default[usize::from(rest % 3)];
        rest /= 3;
        policy
    };
    let ours = PathPolicies {
        encoded_slash: next([Reject, Normalise, Pass]),
        backslash: next([Reject, Normalise, Pass]),
        encoded_control: next([Reject, Normalise, Pass]),
        encoded_delimiter: next([Reject, Normalise, Pass]),
        dot_segments: next([Normalise, Reject, Pass]),
        parameters: next([Pass, Normalise, Reject]),
        empty_segments: next([Pass, Normalise, Reject]),
    };
    let same = |policy| match policy {
        Reject => Policy::Reject,
        Normalise => Policy::Normalise,
        Pass => Policy::Pass,
    };
    let strict = Policies {
        slash: same(ours.encoded_slash),
        backslash: same(ours.backslash),
        control: same(ours.encoded_control),
        delimiter: same(ours.encoded_delimiter),
        dots: same(ours.dot_segments),
        parameters: same(ours.parameters),
        empty: same(ours.empty_segments),
    };
    (ours, strict)
}
