//! The filters that one request meets, in order.

use std::sync::Arc;

use crate::carry::Carry;
use crate::context::{Context, ResponseContext};
use crate::edits::{Edits, Event, Outcome, Verdict};
use crate::filter::Flow;
use crate::filters::{Compiled, FilterId};
use crate::reason::Reason;

/// The filters of a listener, a route and an upstream, ready to run.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    entries: Box<[Entry]>,
    needs_carry: bool,
}

/// One filter in its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) filter: FilterId,
    pub(crate) name: Arc<str>,
    pub(crate) compiled: Arc<Compiled>,
    /// Where its texts begin among those that the exchange keeps.
    pub(crate) base: usize,
}

/// What one filter would do with a request.
#[derive(Debug)]
pub struct FilterStep<'a> {
    /// Which.
    pub filter: FilterId,
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its type, as the configuration says it.
    pub kind: &'static str,
    /// What it did.
    pub outcome: Outcome,
    /// Why it answered, if it did.
    pub reason: Option<Reason>,
    /// All changes so far.
    pub edits: &'a Edits,
}

impl Chain {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        let needs_carry = entries.iter().any(|entry| !entry.compiled.carried.is_empty());
        Self { entries: entries.into(), needs_carry }
    }

    /// Whether there is no filter: nothing needs to be called then.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The filters in order.
    pub fn filters(&self) -> impl Iterator<Item = FilterId> {
        self.entries.iter().map(|entry| entry.filter)
    }

    /// Runs the filters over a request. Afterwards [`Edits::take_carry`] must be called.
    pub fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Verdict {
        self.request_steps(context, edits, |_, _| {})
    }

    /// Tells what [`Chain::request`] would do, filter by filter; with [`crate::Purpose::Explain`] it counts nothing.
    pub fn explain(
        &self,
        context: &Context<'_>,
        edits: &mut Edits,
        see: &mut dyn FnMut(&FilterStep<'_>),
    ) -> Verdict {
        let verdict = self.request_steps(context, edits, |entry, edits| {
            let outcome = edits.events.last().map_or(Outcome::Passed, |event| event.outcome);
            see(&FilterStep {
                filter: entry.filter,
                name: &entry.name,
                kind: entry.compiled.step.kind(),
                outcome,
                reason: edits.answer().map(|answer| answer.reason),
                edits,
            });
        });
        let mut carry = edits.take_carry();
        self.finish(&mut carry);
        edits.give_back(carry);
        verdict
    }

    fn request_steps(
        &self,
        context: &Context<'_>,
        edits: &mut Edits,
        mut see: impl FnMut(&Entry, &Edits),
    ) -> Verdict {
        edits.begin();
        let mut verdict = Verdict::Continue;
        for (index, entry) in (0..).zip(&self.entries) {
            edits.entry = index;
            let flow = entry.compiled.step.request(context, edits);
            let outcome = match (flow, edits.answer()) {
                (Flow::Passed, _) => Outcome::Passed,
                (Flow::Answered, Some(answer)) if answer.reason.is_refusal() => Outcome::Refused,
                _ => Outcome::Acted,
            };
            edits.events.push(Event { filter: entry.filter, outcome });
            see(entry, edits);
            if flow == Flow::Answered {
                verdict = Verdict::Answer;
                break;
            }
        }
        if self.needs_carry {
            self.keep(context, edits);
        }
        verdict
    }

    /// Keeps what the filters of the response will need of the request, as it is now.
    fn keep(&self, context: &Context<'_>, edits: &mut Edits) {
        let mut carry = std::mem::take(&mut edits.carry);
        for (index, entry) in (0..).zip(&self.entries) {
            edits.entry = index;
            for variable in &entry.compiled.carried {
                carry.push(|out| variable.write(context, edits, out));
            }
        }
        edits.carry = carry;
    }

    /// Runs the filters over an upstream's response, the last one first.
    pub fn response(&self, context: &ResponseContext<'_>, edits: &mut Edits) {
        edits.response.clear();
        self.own_response(context, edits);
    }

    /// As [`Chain::response`], for an answer of Corelane's own, whose lines are already in [`Edits::response`]: those of
    /// [`Edits::answer`], or what the engine added there after a `clear`.
    pub fn own_response(&self, context: &ResponseContext<'_>, edits: &mut Edits) {
        edits.events.clear();
        for entry in self.entries.iter().rev() {
            if entry.compiled.step.response(context, entry.base, edits) == Flow::Acted {
                edits.events.push(Event { filter: entry.filter, outcome: Outcome::Acted });
            }
        }
    }

    /// Gives back what the exchange took of limits: to be called once, however it ends.
    pub fn finish(&self, carry: &mut Carry) {
        for (index, place) in carry.places.drain(..) {
            if let Some(entry) = self.entries.get(usize::from(index)) {
                entry.compiled.step.release(place);
            }
        }
    }
}
