//! From a file, and those that it includes, to one tree.
//!
//! `include = ["conf.d/*.toml"]` at the top of a file. The including file comes first, then what each of the patterns finds,
//! in the order of the list, the files of a pattern sorted by the bytes of their paths, each with its own includes behind it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::environment::{Environment, Lookup};
use super::file::{self, Unreadable};
use super::format::{self, Format, Syntax};
use super::lines::Lines;
use super::sources::{Mark, Sources};
use super::tree::{Entry, Spanned, Table, Value};
use super::{decode, show, value};

/// What was read.
pub(super) struct Loading<'e> {
    pub(super) sources: Sources,
    /// The sections of all files.
    pub(super) root: Table,
    /// What is wrong, apart from syntax.
    pub(super) errors: Vec<(usize, String)>,
    /// Whether every include was read.
    pub(super) complete: bool,
    environment: Environment<'e>,
    /// The files from the first to the one that is being read: canonical path and name.
    chain: Vec<(PathBuf, String)>,
    /// Files that were included, and where.
    included: HashMap<PathBuf, usize>,
}

/// The key that includes other files.
pub(super) const INCLUDE: &str = "include";

/// The key that tells editors of JSON where the schema is; nothing is done with it.
pub(super) const SCHEMA: &str = "$schema";

/// How deep includes may be nested. A guess: two are usual.
const DEPTH_MAX: usize = 8;

/// Most files of a configuration. A guess: one for each of many services.
const FILES_MAX: usize = 1000;

/// What all files together may have.
const BYTES_MAX: usize = 64 << 20;

impl<'e> Loading<'e> {
    pub(super) fn new(lookup: Lookup<'e>) -> Self {
        Self {
            sources: Sources::new(),
            root: Table::default(),
            errors: Vec::new(),
            complete: true,
            environment: Environment::new(lookup),
            chain: Vec::new(),
            included: HashMap::new(),
        }
    }

    /// Reads the first file, and what it includes.
    pub(super) fn file(&mut self, name: &str, path: &Path, text: String) {
        // A pipe has no other path than the one that it was named by.
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.chain.push((canonical, name.to_owned()));
        let include = self.text(name, text);
        if let Some((_, patterns)) = include {
            self.include(&patterns, folder(name));
        }
    }

    /// Reads a text that is no file: nothing can be included from it.
    pub(super) fn text_alone(&mut self, name: &str, text: String) {
        if let Some((key, _)) = self.text(name, text) {
            self.error(key.span().start, "include is for files; this is a text".to_owned());
        }
    }

    /// Takes a file's sections over; what is left is its `include`.
    fn text(&mut self, name: &str, text: String) -> Option<Entry> {
        let lines = Lines::new(text);
        let format::Understood { mut root, syntax } =
            format::read(Format::of(name), &lines, self.sources.next_base());
        self.sources.push(name, folder(name), lines, syntax);
        self.environment.substitute(&mut root, &mut self.sources, &mut self.errors);
        let include = root.remove(INCLUDE);
        root.remove(SCHEMA);
        for (key, value) in root {
            self.merge(key, value);
        }
        include
    }

    /// Adds a section. Lists grow, tables of named things join, everything else stands in one file.
    fn merge(&mut self, key: Spanned<String>, value: Spanned<Value>) {
        // An unknown one is told, in each file; there may be many, so none is looked for.
        let Some(section) = decode::section(key.get_ref()) else { return self.root.push(key, value) };
        let Some((_, first)) = self.root.get_mut(key.get_ref()) else { return self.root.push(key, value) };
        let (at, first_at) = (key.span().start, first.span().start);
        match (first.get_mut(), value.into_inner()) {
            (Value::Array(all), Value::Array(more)) if section.is_list() => all.extend(more),
            (Value::Table(all), Value::Table(more)) if section.is_named() => {
                let mut twice = Vec::new();
                let mut places: HashMap<_, _> =
                    all.keys().map(|name| (name.get_ref().clone(), name.span().start)).collect();
                for (name, value) in more {
                    match places.get(name.get_ref()) {
                        Some(first) => twice.push((name, *first)),
                        None => {
                            places.insert(name.get_ref().clone(), name.span().start);
                            all.push(name, value);
                        }
                    }
                }
                for (name, first) in twice {
                    let title = section.title().replace("NAME", &show::list([&**name.get_ref()]));
                    let message =
                        format!("section {title} is already defined in line {}", self.sources.line(first));
                    self.error(name.span().start, message);
                }
            }
            _ => {
                let line = self.sources.line(first_at);
                let message = format!("section {} is already defined in line {line}", section.title());
                self.error(at, message);
            }
        }
    }

    fn include(&mut self, patterns: &Spanned<Value>, folder: &Path) {
        let example = "a list of files, e.g. include = [\"conf.d/*.toml\"]";
        let Value::Array(items) = patterns.get_ref() else {
            let message = value::wrong_kind(patterns.get_ref(), example);
            return self.unread(patterns.span().start, format!("include {message}"));
        };
        for item in items {
            let at = item.span().start;
            match value::string(item.get_ref()) {
                Ok(pattern) => self.pattern(pattern, at, folder),
                Err(message) => self.unread(at, format!("include {message}")),
            }
        }
    }

    fn pattern(&mut self, pattern: &str, at: usize, folder: &Path) {
        if matches!(self.sources.marked(at), Some(Mark::Told)) {
            self.complete = false;
            return;
        }
        match found(pattern, folder) {
            Ok(paths) => paths.iter().for_each(|path| self.included(path, at)),
            Err(message) => self.unread(at, format!("include {} {message}", show::quoted(pattern))),
        }
    }

    fn included(&mut self, path: &Path, at: usize) {
        let name = path.to_string_lossy();
        if let Err(message) = self.try_included(&name, path, at) {
            self.unread(at, format!("include {} {message}", show::quoted(&name)));
        }
    }

    fn try_included(&mut self, name: &str, path: &Path, at: usize) -> Result<(), String> {
        let canonical = fs::canonicalize(path).map_err(|error| format!("cannot be read: {error}"))?;
        if let Some(first) = self.chain.iter().position(|(path, _)| *path == canonical) {
            let names = self.chain[first..].iter().map(|(_, name)| &**name).chain([name]);
            return Err(format!("includes itself: {}", show::list(names)));
        }
        if let Some(first) = self.included.get(&canonical) {
            return Err(format!("is already included in line {}", self.sources.line(*first)));
        }
        if self.chain.len() > DEPTH_MAX {
            return Err(format!("is included too deeply; includes may be nested {DEPTH_MAX} deep"));
        }
        if self.sources.count() >= FILES_MAX {
            return Err(format!("is one file too many; a configuration has at most {FILES_MAX}"));
        }
        let text = match file::read(path) {
            Ok(text) => text,
            Err(Unreadable::Whole(message)) => return Err(message),
            Err(Unreadable::At { before, message }) => {
                let syntax = Syntax::broken(before.len(), message);
                self.sources.push(name, folder(name), Lines::new(before), syntax);
                return Ok(());
            }
        };
        if self.sources.next_base() + text.len() > BYTES_MAX {
            return Err(format!(
                "makes the configuration too large; all files have at most {} MiB",
                BYTES_MAX >> 20
            ));
        }
        self.included.insert(canonical.clone(), at);
        self.chain.push((canonical, name.to_owned()));
        if let Some((_, patterns)) = self.text(name, text) {
            self.include(&patterns, folder(name));
        }
        self.chain.pop();
        Ok(())
    }

    /// Something was not included: what seems to be missing may be there.
    fn unread(&mut self, at: usize, message: String) {
        self.complete = false;
        self.error(at, message);
    }

    fn error(&mut self, at: usize, message: String) {
        self.errors.push((at, message));
    }
}

/// The files that a pattern names, sorted. Without a wildcard the file must exist; with one, none is enough.
fn found(pattern: &str, folder: &Path) -> Result<Vec<PathBuf>, String> {
    if pattern.is_empty() {
        return Err("is empty; write the path of a file or a pattern".to_owned());
    }
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![folder.join(pattern)]);
    }
    if pattern.contains("**") {
        return Err("has **, which is not read; name the folders".to_owned());
    }
    let folder = folder.to_str().ok_or("stands in a folder whose name is not UTF-8")?;
    let whole = Path::new(&glob::Pattern::escape(folder)).join(pattern);
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        // What editors and package managers leave behind.
        require_literal_leading_dot: true,
    };
    let paths = glob::glob_with(&whole.to_string_lossy(), options)
        .map_err(|error| format!("is no pattern: {}", error.msg))?;
    let mut paths =
        paths.collect::<Result<Vec<_>, _>>().map_err(|error| format!("cannot be read: {}", error.error()))?;
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(paths)
}

/// Where the relative paths of a file begin.
fn folder(name: &str) -> &Path {
    Path::new(name).parent().unwrap_or(Path::new(""))
}
