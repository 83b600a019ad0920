//! Texts with variables: `https://{host}{path}`. `{{` and `}}` are braces.
//!
//! A template is compiled when the configuration is loaded. A name that is unknown, or unknown at that point, is an error
//! with its position, and is never sent as it stands.

use crate::context::{Context, ResponseContext};
use crate::edits::Edits;
use crate::filters::Build;
use crate::variable::{Named, Phase, Variable};

/// A compiled text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Variable(Variable),
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The byte that it begins at.
    pub position: usize,
    /// What is wrong.
    pub message: String,
}

/// A part of a text with variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What stands for itself.
    Text(&'a str),
    /// What stands in braces, and where they open.
    Name(&'a str, usize),
}

/// Cuts a text with variables into its parts.
///
/// # Errors
///
/// A control character other than a tab, a text that is too long, a brace without its other one.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let error = |position: usize, message: String| TemplateError { position, message };
    if let Some(position) = text.bytes().position(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(error(position, "a control character".to_owned()));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(error(TEXT_BYTES_MAX, format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let position = text.len() - rest.len() + at;
        let (brace, behind) = (&rest[at..=at], &rest[at + 1..]);
        if let Some(behind) = behind.strip_prefix(brace) {
            // One of the two stands for both.
            pieces.push(Piece::Text(&rest[..=at]));
            rest = behind;
            continue;
        }
        let Some((name, behind)) = behind.split_once('}').filter(|_| brace == "{") else {
            let message =
                if brace == "{" { "{ without its }" } else { "} without its {; write }} for a brace" };
            return Err(error(position, message.to_owned()));
        };
        pieces.push(Piece::Text(&rest[..at]));
        pieces.push(Piece::Name(name, position));
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

impl Template {
    pub(crate) fn compile(text: &str, phase: Phase, build: &mut Build<'_>) -> Result<Self, TemplateError> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        for piece in pieces(text)? {
            let named = match piece {
                Piece::Text(text) => Named::Text(text.to_owned()),
                Piece::Name(name, position) => Variable::parse(name, phase, build)
                    .map_err(|message| TemplateError { position, message })?,
            };
            match named {
                Named::Text(text) => literal.push_str(&text),
                Named::Variable(variable) => {
                    push_text(&mut parts, &mut literal);
                    parts.push(Part::Variable(variable));
                }
            }
        }
        push_text(&mut parts, &mut literal);
        Ok(Self { parts })
    }

    /// A text without variables.
    pub(crate) fn text(text: &[u8]) -> Self {
        Self { parts: vec![Part::Text(text.into())] }
    }

    /// With its fixed parts written in another way.
    pub(crate) fn encoded(mut self, encode: impl Fn(&[u8], &mut Vec<u8>)) -> Self {
        for part in &mut self.parts {
            if let Part::Text(text) = part {
                let mut out = Vec::new();
                encode(text, &mut out);
                *text = out.into();
            }
        }
        self
    }

    /// One behind the other.
    pub(crate) fn join(templates: Vec<Self>) -> Self {
        Self { parts: templates.into_iter().flat_map(|template| template.parts).collect() }
    }

    /// Its text, if it has no variable.
    pub(crate) fn fixed(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(&[]),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it begins with, before its first variable.
    pub(crate) fn start(&self) -> &[u8] {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => &[],
        }
    }

    /// Appends it, filled in for a request.
    pub(crate) fn write(&self, context: &Context<'_>, edits: &Edits, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(variable) => variable.write(context, edits, out),
            }
        }
    }

    /// As [`Template::write`]; `change` appends the value of each variable.
    pub(crate) fn write_with(
        &self,
        context: &Context<'_>,
        edits: &Edits,
        spare: &mut Vec<u8>,
        out: &mut Vec<u8>,
        mut change: impl FnMut(&[u8], &mut Vec<u8>),
    ) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(variable) => {
                    spare.clear();
                    variable.write(context, edits, spare);
                    change(spare, out);
                }
            }
        }
    }

    /// Appends it, filled in for a response.
    pub(crate) fn write_response(&self, context: &ResponseContext<'_>, base: usize, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(variable) => variable.write_response(context, base, out),
            }
        }
    }
}

/// The longest text: longer ones would not fit in a head.
const TEXT_BYTES_MAX: usize = 16 * 1024;

fn push_text(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal).into_bytes().into()));
    }
}
