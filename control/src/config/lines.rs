//! From byte offsets to lines and columns.

use super::error::Position;

/// A text and where its lines begin.
#[derive(Debug)]
pub(super) struct Lines {
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    /// Indexes a text; a line ends at its line feed.
    pub(super) fn new(text: String) -> Self {
        let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(feeds).collect();
        Self { text, starts }
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The line that an offset is on, from 0.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The place of an offset; one past the end is the end.
    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.line(offset);
        let before = self.text.get(self.starts[line]..offset).unwrap_or_default();
        // No editor counts the byte-order mark as a column.
        let column = before.trim_start_matches('\u{feff}').chars().count();
        Position { line: line + 1, column: column + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_and_not_bytes() {
        let lines = Lines::new("é = \"ü\" x\r\nb\n".to_owned());
        assert_eq!(lines.position(0), Position { line: 1, column: 1 });
        assert_eq!(lines.position("é = \"ü\" ".len()), Position { line: 1, column: 9 });
        assert_eq!(lines.position("é = \"ü\" x\r\n".len()), Position { line: 2, column: 1 });
    }

    #[test]
    fn clamps_to_the_end() {
        assert_eq!(Lines::new("".to_owned()).position(7), Position { line: 1, column: 1 });
        assert_eq!(Lines::new("a\n".to_owned()).position(7), Position { line: 2, column: 1 });
    }

    #[test]
    fn leaves_out_the_byte_order_mark() {
        assert_eq!(Lines::new("\u{feff}ab".to_owned()).position(4), Position { line: 1, column: 2 });
    }
}
