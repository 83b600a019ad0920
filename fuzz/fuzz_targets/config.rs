//! Configuration files in all three formats: whatever the text, an answer whose positions are in it and whose messages are
//! one line; and a layout that changes nothing the second time.

#![no_main]

use corelane_control::config::{formatted, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let file = ["t.toml", "t.yaml", "t.json"][usize::from(selector % 3)];
    if let Err(errors) = parse(file, text) {
        assert!(errors.iter().count() > 0);
        for error in &errors {
            assert!(!error.message.contains(char::is_control), "{:?}", error.message);
            let Some(position) = error.position else { continue };
            let line = text.split('\n').nth(position.line - 1).expect("the line is in the text");
            assert!(position.column <= line.chars().count() + 1, "{error}");
        }
    }
    if let Ok(once) = formatted(file, text) {
        assert_eq!(formatted(file, &once).expect("is right"), once);
        assert_eq!(parse(file, &once).is_ok(), parse(file, text).is_ok());
    }
});
