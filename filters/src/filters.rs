//! The filters of a configuration, by name, and how settings become steps.

use std::cell::Cell;
use std::hash::RandomState;
use std::sync::Arc;

use crate::chain::{Chain, Entry};
use crate::field_name::FieldName;
use crate::filter::{Settings, Step};
use crate::pattern::Pattern;
use crate::problem::Problem;
use crate::table::{Meaning, Table};
use crate::template::Template;
use crate::variable::{Phase, Variable};

/// The place of a filter among those of its configuration, from 0 in the order in which they were defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterId(pub(crate) u16);

impl FilterId {
    /// The place.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The filters of one configuration. Needed only while chains are made, and for the configuration that follows.
#[derive(Debug, Default)]
pub struct Filters {
    /// What limits hash their keys with, so that no client can choose which of them meet in one place.
    keys: RandomState,
    /// The tables of the configuration before.
    inherited: Vec<(Arc<str>, Arc<Table>)>,
    /// How many patterns there are.
    patterns: Cell<usize>,
    definitions: Vec<Definition>,
}

/// One filter.
#[derive(Debug)]
struct Definition {
    name: Arc<str>,
    settings: Settings,
    /// For all chains, unless it asks for parts of its route's path.
    step: Option<Arc<Compiled>>,
    /// Where it counts, in all chains.
    table: Option<Arc<Table>>,
}

/// A filter, ready to run.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) step: Step,
    /// What of the request the response will need.
    pub(crate) carried: Vec<Variable>,
}

/// Where a chain stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// The names of the groups in the route's path, in the order of [`crate::Context::captures`].
    pub captures: &'a [&'a str],
}

/// Reads the environment, for `{env.NAME}`.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Filters {
    /// None yet; `keys` is the chance that they get.
    #[must_use]
    pub fn new(keys: RandomState) -> Self {
        Self { keys, ..Self::default() }
    }

    /// None yet; limits that are defined again go on with what they have counted.
    #[must_use]
    pub fn after(earlier: &Self) -> Self {
        let tables = earlier.definitions.iter();
        let tables = tables.filter_map(|of| Some((Arc::clone(&of.name), Arc::clone(of.table.as_ref()?))));
        Self { keys: earlier.keys.clone(), inherited: tables.collect(), ..Self::default() }
    }

    /// Adds a filter.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its settings. The filter then has no place.
    ///
    /// # Panics
    ///
    /// With more than 65 535 filters, which configurations refuse.
    pub fn define(
        &mut self,
        name: &str,
        settings: Settings,
        environment: Environment<'_>,
    ) -> Result<FilterId, Vec<Problem>> {
        let id = FilterId(u16::try_from(self.definitions.len()).expect("configurations have fewer filters"));
        let inherited = self.inherited.iter().find(|(other, _)| **other == *name);
        let table = inherited.map(|(_, table)| Arc::clone(table));
        let mut build = Build { name, table, ..self.build(None, environment) };
        let compiled = build.compile(&settings)?;
        let step = (!build.uses_captures).then(|| Arc::new(compiled));
        let table = build.table.filter(|_| build.uses_table);
        self.definitions.push(Definition { name: name.into(), settings, step, table });
        Ok(id)
    }

    /// The filter in a place.
    #[must_use]
    pub fn id(&self, index: usize) -> Option<FilterId> {
        let is_there = index < self.definitions.len();
        u16::try_from(index).ok().filter(|_| is_there).map(FilterId)
    }

    /// The name of a filter.
    #[must_use]
    pub fn name(&self, id: FilterId) -> &str {
        self.definitions.get(id.index()).map_or("", |definition| &definition.name)
    }

    /// How many keys a limit has forgotten, for want of room, while they still mattered; 0 for other filters.
    #[must_use]
    pub fn evictions(&self, id: FilterId) -> u64 {
        let table = self.definitions.get(id.index()).and_then(|definition| definition.table.as_ref());
        table.map_or(0, |table| table.evictions())
    }

    pub(crate) fn build<'a>(
        &'a self,
        scope: Option<&'a Scope<'a>>,
        environment: Environment<'a>,
    ) -> Build<'a> {
        Build {
            name: "",
            problems: Vec::new(),
            scope,
            environment,
            carried: Vec::new(),
            uses_captures: false,
            keys: &self.keys,
            patterns: &self.patterns,
            table: None,
            uses_table: false,
            matches: None,
        }
    }

    /// The chain of these filters, in the order in which requests meet them; responses meet them in reverse.
    ///
    /// # Errors
    ///
    /// For a filter that asks for a group which the route's path does not have; with the filter's name.
    ///
    /// # Panics
    ///
    /// With an id of other filters.
    pub fn chain(
        &self,
        ids: &[FilterId],
        scope: &Scope<'_>,
        environment: Environment<'_>,
    ) -> Result<Chain, Vec<(FilterId, Problem)>> {
        let (mut entries, mut problems, mut base) = (Vec::new(), Vec::new(), 0);
        for &id in ids {
            let definition = &self.definitions[id.index()];
            let compiled = match &definition.step {
                Some(step) => Ok(Arc::clone(step)),
                None => {
                    let table = definition.table.clone();
                    let mut build =
                        Build { name: &definition.name, table, ..self.build(Some(scope), environment) };
                    build.compile(&definition.settings).map(Arc::new)
                }
            };
            match compiled {
                Ok(compiled) => {
                    let carried = compiled.carried.len();
                    entries.push(Entry { filter: id, name: Arc::clone(&definition.name), compiled, base });
                    base += carried;
                }
                Err(found) => problems.extend(found.into_iter().map(|problem| (id, problem))),
            }
        }
        if problems.is_empty() { Ok(Chain::new(entries)) } else { Err(problems) }
    }
}

/// What steps are made with; collects what is wrong.
pub(crate) struct Build<'a> {
    /// What the filter is called.
    pub(crate) name: &'a str,
    problems: Vec<Problem>,
    /// `None` where the route is not known: then its path may have any group.
    scope: Option<&'a Scope<'a>>,
    environment: Environment<'a>,
    carried: Vec<Variable>,
    uses_captures: bool,
    keys: &'a RandomState,
    patterns: &'a Cell<usize>,
    /// The filter's own, or the one that it inherits.
    table: Option<Arc<Table>>,
    uses_table: bool,
    /// Whose groups `{match.NAME}` are, where there are any.
    pub(crate) matches: Option<Pattern>,
}

impl Build<'_> {
    fn compile(&mut self, settings: &Settings) -> Result<Compiled, Vec<Problem>> {
        let step = Step::compile(settings, self);
        debug_assert!(step.is_some() || !self.problems.is_empty(), "no step, and nobody says why");
        match step {
            Some(step) if self.problems.is_empty() => {
                Ok(Compiled { step, carried: std::mem::take(&mut self.carried) })
            }
            _ => Err(std::mem::take(&mut self.problems)),
        }
    }

    /// Notes a mistake.
    pub(crate) fn problem(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), position: None, message: message.into() });
    }

    /// How many mistakes there are so far.
    pub(crate) fn mistakes(&self) -> usize {
        self.problems.len()
    }

    /// A text with variables; an empty one, and a mistake noted, if it is wrong.
    pub(crate) fn template(&mut self, key: impl Into<String>, text: &str, phase: Phase) -> Template {
        self.template_at(key, 0, text, phase)
    }

    /// The same for a part of a text, from a byte of it on.
    pub(crate) fn template_at(
        &mut self,
        key: impl Into<String>,
        start: usize,
        text: &str,
        phase: Phase,
    ) -> Template {
        match Template::compile(text, phase, self) {
            Ok(template) => template,
            Err(error) => {
                let (position, message) = (Some(start + error.position), error.message);
                self.problems.push(Problem { key: key.into(), position, message });
                Template::default()
            }
        }
    }

    /// A field's name.
    pub(crate) fn field_name(&mut self, key: impl Into<String>, text: &str) -> Option<FieldName> {
        FieldName::parse(text).map_err(|why| self.problem(key, format!("{text:?}: {why}"))).ok()
    }

    /// Regular expressions that are searched for together.
    pub(crate) fn pattern(&mut self, key: impl Into<String>, texts: &[&str]) -> Option<Pattern> {
        let place = self.patterns.get();
        self.patterns.set(place + 1);
        Pattern::compile(texts, place).map_err(|why| self.problem(key, why)).ok()
    }

    /// A number within bounds, or a mistake noted.
    pub(crate) fn within(&mut self, key: &str, number: u64, bounds: std::ops::RangeInclusive<u64>) {
        if !bounds.contains(&number) {
            self.problem(key, format!("{number} is not from {} to {}", bounds.start(), bounds.end()));
        }
    }

    /// Where the filter counts: all its chains in one table, and the one of the configuration before if it is as large
    /// and its numbers mean the same.
    pub(crate) fn table(&mut self, keys_max: u32, meaning: Meaning) -> Arc<Table> {
        self.uses_table = true;
        let fitting = self.table.take().filter(|table| table.fits(keys_max, meaning));
        let table = fitting.unwrap_or_else(|| Arc::new(Table::new(keys_max, meaning)));
        self.table = Some(Arc::clone(&table));
        table
    }

    pub(crate) fn keys(&self) -> &RandomState {
        self.keys
    }

    /// A field's name that edits may change.
    pub(crate) fn editable(&mut self, key: impl Into<String>, text: &str) -> Option<FieldName> {
        FieldName::parse_editable(text).map_err(|why| self.problem(key, format!("{text:?}: {why}"))).ok()
    }

    /// The place of a group.
    pub(crate) fn capture(&mut self, name: &str) -> Result<usize, String> {
        self.uses_captures = true;
        let Some(scope) = self.scope else { return Ok(0) };
        let place = scope.captures.iter().position(|group| *group == name);
        place.ok_or_else(|| format!("{{path.{name}}}: the route's path has no group {name:?}"))
    }

    pub(crate) fn environment(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// Keeps a variable of the request for the response; its place among those of the filter.
    pub(crate) fn carry(&mut self, variable: Variable) -> usize {
        let place = self.carried.iter().position(|carried| *carried == variable);
        place.unwrap_or_else(|| {
            self.carried.push(variable);
            self.carried.len() - 1
        })
    }
}
