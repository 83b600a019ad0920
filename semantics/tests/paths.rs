//! Paths: tables of what each spelling becomes, and the properties that hold for any path.

use PathError as E;
use PathPolicy::{Normalise, Pass, Reject};
use corelane_semantics::{PathBuffers, PathError, PathPolicies, PathPolicy};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The canonical form and what is forwarded.
type Forms = Result<(String, String), PathError>;

fn forms(path: &[u8], policies: &PathPolicies) -> Forms {
    let mut buffers = PathBuffers::default();
    let text = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
    buffers.canonicalise(path, policies).map(|paths| (text(paths.canonical), text(paths.forwarded)))
}

fn all(policy: PathPolicy) -> PathPolicies {
    PathPolicies {
        encoded_slash: policy,
        backslash: policy,
        encoded_control: policy,
        encoded_delimiter: policy,
        dot_segments: policy,
        parameters: policy,
        empty_segments: policy,
    }
}

fn same(path: &str) -> Forms {
    Ok((path.to_owned(), path.to_owned()))
}

fn two(canonical: &str, forwarded: &str) -> Forms {
    Ok((canonical.to_owned(), forwarded.to_owned()))
}

#[test]
fn by_default() {
    let table = [
        ("", same("")),
        ("/", same("/")),
        ("/a/b.c/d_e~f-g/", same("/a/b.c/d_e~f-g/")),
        ("/a...b/..c/.d/e./...", same("/a...b/..c/.d/e./...")),
        ("/.well-known/acme-challenge/x", same("/.well-known/acme-challenge/x")),
        ("/a:b@c!d$e&f'g(h)i*j+k,l=m", same("/a:b@c!d$e&f'g(h)i*j+k,l=m")),
        ("/\"<>^`{|}", same("/\"<>^`{|}")),
        // RFC 3986 §6.2.2.2: escapes that need not be; §6.2.2.1: the case of those that stay.
        ("/%41%7e%2d%21", two("/A~-!", "/%41%7e%2d%21")),
        ("/caf%c3%a9%20", two("/caf%C3%A9%20", "/caf%c3%a9%20")),
        ("/%2a%5b%5d%40%3A", two("/*[]@:", "/%2a%5b%5d%40%3A")),
        // Nothing is decoded twice.
        ("/%252e%252e/%252f%255c", two("/%252e%252e/%252f%255c", "/%252e%252e/%252f%255c")),
        ("/a%25", same("/a%25")),
        ("/a%3bb/%3B", two("/a%3Bb/%3B", "/a%3bb/%3B")),
        // Overlong and other forms of UTF-8 are not ASCII.
        ("/%c0%af%c0%ae", two("/%C0%AF%C0%AE", "/%c0%af%c0%ae")),
        ("/%ef%bc%8f", two("/%EF%BC%8F", "/%ef%bc%8f")),
        // RFC 3986 §5.2.4.
        ("/a/./b", two("/a/b", "/a/b")),
        ("/a/../b", two("/b", "/b")),
        ("/a/b/c/./../../g", two("/a/g", "/a/g")),
        ("/a/b/.", two("/a/b/", "/a/b/")),
        ("/a/b/..", two("/a/", "/a/")),
        ("/a/..", two("/", "/")),
        ("/.", two("/", "/")),
        ("/./", two("/", "/")),
        ("/./././a", two("/a", "/a")),
        ("/%2e/a/%2E%2e/b", two("/b", "/b")),
        ("/a/.%2e/b", two("/b", "/b")),
        ("/a/%2e./%2e", two("/", "/")),
        ("/a/%2e%2e%2e", two("/a/...", "/a/%2e%2e%2e")),
        // Only the dot segments are resolved in what is forwarded.
        ("/%41/./%42;c//d", two("/A/B/d", "/%41/%42;c//d")),
        ("/a//b/../c", two("/a/c", "/a//c")),
        ("/.//a", two("/a", "//a")),
        ("/a;b/../c", two("/c", "/c")),
        // Parameters and empty segments pass.
        ("/a;b=c/d;e", two("/a/d", "/a;b=c/d;e")),
        ("/a;", two("/a", "/a;")),
        ("/;a", two("/", "/;a")),
        ("/a;.", two("/a", "/a;.")),
        ("/a;b=.%2e/c", two("/a/c", "/a;b=.%2e/c")),
        ("//", two("/", "//")),
        ("//a///b//", two("/a/b/", "//a///b//")),
        ("/a/;b/c", two("/a/c", "/a/;b/c")),
        // Refused by policy.
        ("/a%2fb", Err(E::EncodedSlash)),
        ("/a%2Fb", Err(E::EncodedSlash)),
        ("/a;b%2fc", Err(E::EncodedSlash)),
        ("/a\\b", Err(E::Backslash)),
        ("/a%5cb", Err(E::Backslash)),
        ("/a%5Cb", Err(E::Backslash)),
        ("/a;b\\c", Err(E::Backslash)),
        ("/%00", Err(E::EncodedControl)),
        ("/a%0d%0ab", Err(E::EncodedControl)),
        ("/a%1Fb", Err(E::EncodedControl)),
        ("/a%7fb", Err(E::EncodedControl)),
        ("/a;%00", Err(E::EncodedControl)),
        ("/a%23b", Err(E::EncodedDelimiter)),
        ("/a%3fb", Err(E::EncodedDelimiter)),
        ("/a;%3F", Err(E::EncodedDelimiter)),
        // Known ways around access rules.
        ("/public/..%2fadmin", Err(E::EncodedSlash)),
        ("/%2e%2e%2fadmin", Err(E::EncodedSlash)),
        ("/..%5cadmin", Err(E::Backslash)),
        ("/a/%2e%2e/%2e%2e/b", Err(E::AboveRoot)),
        ("/%2e%2e/", Err(E::AboveRoot)),
        ("/..", Err(E::AboveRoot)),
        ("/../a", Err(E::AboveRoot)),
        ("/a/../..", Err(E::AboveRoot)),
        ("/./..", Err(E::AboveRoot)),
        ("/.;", Err(E::DotAmbiguous)),
        ("/.;/a", Err(E::DotAmbiguous)),
        ("/..;/admin", Err(E::DotAmbiguous)),
        ("/a/..;b=c/d", Err(E::DotAmbiguous)),
        ("/a/%2e%2E;/b", Err(E::DotAmbiguous)),
        ("/a/..%3b/b", Err(E::DotAmbiguous)),
        ("/a/.%3Bb", Err(E::DotAmbiguous)),
        ("/a//../b", Err(E::DotAmbiguous)),
        ("/a//b/../../c", Err(E::DotAmbiguous)),
        ("/a/b/..//../c", Err(E::DotAmbiguous)),
        ("//..", Err(E::DotAmbiguous)),
        ("/a/;b/../c", Err(E::DotAmbiguous)),
        // RFC 3986 §2.1.
        ("/%", Err(E::EscapeInvalid)),
        ("/%4", Err(E::EscapeInvalid)),
        ("/%4g", Err(E::EscapeInvalid)),
        ("/%g4", Err(E::EscapeInvalid)),
        ("/%%41", Err(E::EscapeInvalid)),
        ("/%+1", Err(E::EscapeInvalid)),
        ("/%u002e", Err(E::EscapeInvalid)),
        ("/a;%zz", Err(E::EscapeInvalid)),
    ];
    for (path, expected) in table {
        assert_eq!(forms(path.as_bytes(), &PathPolicies::default()), expected, "{path}");
    }
}

#[test]
fn each_policy_decides_about_its_spelling_alone() {
    type Set = fn(&mut PathPolicies, PathPolicy);
    // Path; policy; why it is refused; what is forwarded if normalised, all else passing; canonical form.
    let table: &[(&str, Set, PathError, &str, &str)] = &[
        ("/a%2fb;c//%41", |p, v| p.encoded_slash = v, E::EncodedSlash, "/a/b;c//%41", "/a/b/A"),
        ("/a\\b%5cc//%41", |p, v| p.backslash = v, E::Backslash, "/a/b/c//%41", "/a/b/c/A"),
        ("/a%5C%5cb", |p, v| p.backslash = v, E::Backslash, "/a//b", "/a/b"),
        ("/a%0a//b", |p, v| p.encoded_control = v, E::EncodedControl, "/a%0a//b", "/a%0A/b"),
        ("/a%3f//b", |p, v| p.encoded_delimiter = v, E::EncodedDelimiter, "/a%3f//b", "/a%3F/b"),
        ("/a/./b;c/../d//%41", |p, v| p.dot_segments = v, E::DotSegment, "/a/d//%41", "/a/d/A"),
        ("/a/b/%2e%2e", |p, v| p.dot_segments = v, E::DotSegment, "/a/", "/a/"),
        ("/a;b/./c;d//%41", |p, v| p.parameters = v, E::Parameter, "/a/./c//%41", "/a/c/A"),
        ("/a/;b/c", |p, v| p.parameters = v, E::Parameter, "/a//c", "/a/c"),
        ("//a//b;c/./%41//", |p, v| p.empty_segments = v, E::EmptySegment, "/a/b;c/./%41/", "/a/b/A/"),
        // No `//`, although a server may make one of it.
        ("/a/;b/c", |p, v| p.empty_segments = v, E::EmptySegment, "/a/;b/c", "/a/c"),
        ("/a/%2Fb", |p, v| p.empty_segments = v, E::EmptySegment, "/a/%2Fb", "/a/b"),
        ("/a\\\\b", |p, v| p.empty_segments = v, E::EmptySegment, "/a\\\\b", "/a/b"),
    ];
    for &(path, set, error, normalised, canonical) in table {
        let mut policies = all(Pass);
        assert_eq!(forms(path.as_bytes(), &policies), two(canonical, path));
        set(&mut policies, Reject);
        assert_eq!(forms(path.as_bytes(), &policies), Err(error), "{path}");
        set(&mut policies, Normalise);
        assert_eq!(forms(path.as_bytes(), &policies), two(canonical, normalised), "{path}");
    }
}

#[test]
fn ambiguous_dot_segments_are_refused_whatever_the_policies() {
    for path in [
        "/a/..;/b",
        "/a/.;",
        "/a/..%3b/b",
        "/a%2f..",
        "/a%2f../b",
        "/a/..%2fb",
        "/a/.%2fb",
        "/a%2f./b",
        "/a\\..\\b",
        "/a/..\\b",
        "/a%5c../b",
        "/a/%2e%5cb",
        "/a%2fb/../c",
        "/a\\b/../c",
        "/a/b%2fc/../../d",
        "/a;b%2f../c",
        "/a//../b",
        "/a/;/../b",
        "/a%2f/../b",
    ] {
        for policy in [Normalise, Pass] {
            assert_eq!(forms(path.as_bytes(), &all(policy)), Err(E::DotAmbiguous), "{path} {policy:?}");
        }
    }
    for path in ["/..", "/a/../../b", "/%2e%2e"] {
        for policy in [Normalise, Pass] {
            assert_eq!(forms(path.as_bytes(), &all(policy)), Err(E::AboveRoot), "{path} {policy:?}");
        }
    }
}

#[test]
fn every_byte_has_its_form() {
    for byte in 0x21..=0xff_u8 {
        if matches!(byte, b'%' | b'/' | b'?' | b'#') {
            continue;
        }
        let (path, escaped) = ([b'/', byte], format!("/%{byte:02x}"));
        let canonical = match byte {
            b'\\' | b';' => "/".to_owned(),
            b'.' => "/".to_owned(),
            0x80.. => format!("/%{byte:02X}"),
            _ => format!("/{}", char::from(byte)),
        };
        assert_eq!(forms(&path, &all(Pass)).map(|forms| forms.0), Ok(canonical.clone()), "{byte:#04x}");
        let expected = match byte {
            b';' | 0x7f => format!("/%{byte:02X}"),
            _ => canonical,
        };
        assert_eq!(forms(escaped.as_bytes(), &all(Pass)).map(|forms| forms.0), Ok(expected), "{escaped}");
    }
}

#[test]
fn memory_is_used_again() {
    let mut buffers = PathBuffers::default();
    let policies = PathPolicies::default();
    for (path, canonical) in [("/a/../b%41", "/bA"), ("/c", "/c"), ("/%41", "/A"), ("/a//b", "/a/b")] {
        let paths = buffers.canonicalise(path.as_bytes(), &policies).expect(path);
        assert_eq!(paths.canonical, canonical.as_bytes(), "{path}");
    }
    assert!(buffers.canonicalise(b"/a/..;/b", &policies).is_err());
    assert_eq!(buffers.canonicalise(b"/%42/", &policies).expect("a valid path").canonical, b"/B/");
}

/// Pieces that random sequences of come close to what matters.
const PIECES: &[&str] = &[
    "/", "/", "/", "//", "/.", "/..", ".", "..", "%2e", "%2E", "%2f", "%2F", "\\", "%5c", ";", ";a=b", "%3b",
    "%3B", "%25", "%252e", "%252f", "%00", "%0a", "%7f", "%23", "%3f", "%41", "%c3%a9", "%20", "%", "%4",
    "a", "b", "abcdefgh", "\u{e9}", "~", "%7e", "a/../", "/./b", "/;/",
];

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(select(PIECES), 0..14).prop_map(|pieces| {
        let text = ["/", &pieces.concat()].concat();
        // Latin-1, so that some bytes are not UTF-8.
        text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect()
    })
}

fn policies() -> impl Strategy<Value = PathPolicies> {
    let policy = || select(&[Reject, Normalise, Pass, Pass][..]);
    let any = (policy(), policy(), policy(), policy(), policy(), policy(), policy()).prop_map(
        |(
            encoded_slash,
            backslash,
            encoded_control,
            encoded_delimiter,
            dot_segments,
            parameters,
            empty_segments,
        )| {
            PathPolicies {
                encoded_slash,
                backslash,
                encoded_control,
                encoded_delimiter,
                dot_segments,
                parameters,
                empty_segments,
            }
        },
    );
    prop_oneof![Just(PathPolicies::default()), Just(all(Pass)), Just(all(Normalise)), any]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_canonical_form_is_its_own(path in path(), policies in policies()) {
        let Ok((canonical, forwarded)) = forms(&path, &policies) else { return Ok(()) };
        prop_assert_eq!(forms(canonical.as_bytes(), &policies), same(&canonical));
        let forwarded: Vec<u8> = forwarded.chars().map(|c| c as u8).collect();
        let again = forms(&forwarded, &policies);
        prop_assert_eq!(again.map(|forms| forms.0), Ok(canonical.clone()));
        // And nobody can tell by it what the policies were.
        prop_assert_eq!(forms(&path, &all(Pass)).map(|forms| forms.0), Ok(canonical));
    }

    #[test]
    fn a_canonical_form_holds_nothing_that_servers_disagree_about(path in path(), policies in policies()) {
        let Ok((canonical, _)) = forms(&path, &policies) else { return Ok(()) };
        prop_assert!(canonical.starts_with('/') && canonical.is_ascii());
        for wrong in ["//", "/./", "/../", ";", "\\", "%2F", "%5C", "%2E", "%41", "%2f", "%c3"] {
            prop_assert!(!canonical.contains(wrong), "{} in {}", wrong, canonical);
        }
        prop_assert!(!canonical.ends_with("/.") && !canonical.ends_with("/.."));
    }

    #[test]
    fn what_passes_is_forwarded_as_it_came(path in path()) {
        if let Ok((_, forwarded)) = forms(&path, &all(Pass)) {
            prop_assert_eq!(forwarded.chars().map(|c| c as u8).collect::<Vec<_>>(), path);
        }
    }

    #[test]
    fn what_is_normalised_is_gone(path in path()) {
        let Ok((_, forwarded)) = forms(&path, &all(Normalise)) else { return Ok(()) };
        for wrong in ["//", "/./", "/../", ";", "\\", "%2F", "%2f", "%5C", "%5c"] {
            prop_assert!(!forwarded.contains(wrong), "{} in {}", wrong, forwarded);
        }
    }
}
