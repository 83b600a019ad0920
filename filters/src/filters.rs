//! The filters of a configuration, by name, and how settings become steps.

use std::hash::RandomState;
use std::sync::Arc;

use crate::chain::{Chain, Entry};
use crate::field_name::FieldName;
use crate::filter::{Settings, Step};
use crate::problem::Problem;
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
    definitions: Vec<Definition>,
}

/// One filter.
#[derive(Debug)]
struct Definition {
    name: Arc<str>,
    settings: Settings,
    /// For all chains, unless it asks for parts of its route's path.
    step: Option<Arc<Compiled>>,
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
        Self { keys, definitions: Vec::new() }
    }

    /// None yet; limits that are defined again go on with what they have counted.
    #[must_use]
    pub fn after(earlier: &Self) -> Self {
        Self { keys: earlier.keys.clone(), definitions: Vec::new() }
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
        let mut build = Build::new(None, environment);
        let compiled = build.compile(&settings)?;
        let step = (!build.uses_captures).then(|| Arc::new(compiled));
        self.definitions.push(Definition { name: name.into(), settings, step });
        Ok(id)
    }

    /// The name of a filter.
    #[must_use]
    pub fn name(&self, id: FilterId) -> &str {
        self.definitions.get(id.index()).map_or("", |definition| &definition.name)
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
                None => Build::new(Some(scope), environment).compile(&definition.settings).map(Arc::new),
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
    problems: Vec<Problem>,
    /// `None` where the route is not known: then its path may have any group.
    scope: Option<&'a Scope<'a>>,
    environment: Environment<'a>,
    carried: Vec<Variable>,
    uses_captures: bool,
}

impl<'a> Build<'a> {
    pub(crate) fn new(scope: Option<&'a Scope<'a>>, environment: Environment<'a>) -> Self {
        Self { problems: Vec::new(), scope, environment, carried: Vec::new(), uses_captures: false }
    }

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

    /// A text with variables; an empty one, and a mistake noted, if it is wrong.
    pub(crate) fn template(&mut self, key: impl Into<String>, text: &str, phase: Phase) -> Template {
        match Template::compile(text, phase, self) {
            Ok(template) => template,
            Err(error) => {
                let (position, message) = (Some(error.position), error.message);
                self.problems.push(Problem { key: key.into(), position, message });
                Template::default()
            }
        }
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

    /// Keeps a variable of the request for the response; its place.
    pub(crate) fn carry(&mut self, variable: Variable) -> usize {
        let place = self.carried.iter().position(|carried| *carried == variable);
        place.unwrap_or_else(|| {
            self.carried.push(variable);
            self.carried.len() - 1
        })
    }
}
