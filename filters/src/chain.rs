//! The filters that one request meets, in order.

use std::sync::Arc;
use std::time::Duration;

use corelane_semantics::ResponseHead;

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

/// What one filter would do with a request, or with its response.
#[derive(Debug)]
pub struct FilterStep<'a> {
    /// Its place in the chain, from 0.
    pub place: usize,
    /// Whether it is about the response.
    pub is_response: bool,
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
    /// How a limit stands; empty for other filters.
    pub remark: &'a str,
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

    /// Tells what [`Chain::request`] would do, filter by filter, and then, from the last filter to the first, what would be
    /// done to a response without fields: the answer of a filter, or a 200. With [`crate::Purpose::Explain`] it counts
    /// nothing.
    pub fn explain(
        &self,
        context: &Context<'_>,
        edits: &mut Edits,
        see: &mut dyn FnMut(&FilterStep<'_>),
    ) -> Verdict {
        edits.remark.clear();
        let verdict = self.request_steps(context, edits, |entry, edits| {
            let event = edits.events.last().copied();
            see(&FilterStep {
                place: usize::from(edits.entry),
                is_response: false,
                filter: entry.filter,
                name: &entry.name,
                kind: entry.compiled.step.kind(),
                outcome: event.map_or(Outcome::Passed, |event| event.outcome),
                reason: edits.answer().map(|answer| answer.reason),
                remark: &edits.remark,
                edits,
            });
            edits.remark.clear();
        });
        let mut carry = edits.take_carry();
        if verdict == Verdict::Continue {
            edits.response.clear();
        }
        self.explain_response(&carry, edits, see);
        self.finish(&mut carry);
        edits.give_back(carry);
        verdict
    }

    fn explain_response(&self, carry: &Carry, edits: &mut Edits, see: &mut dyn FnMut(&FilterStep<'_>)) {
        let reason = edits.answer().map(|answer| answer.reason);
        let status = edits.answer().map_or(200, |answer| answer.status);
        let head = ResponseHead { status, ..ResponseHead::default() };
        let context =
            ResponseContext { head: &head, bytes: b"", carry, endpoint: "", duration: Duration::ZERO };
        for (place, entry) in self.entries.iter().enumerate().rev() {
            let flow = entry.compiled.step.response(&context, entry.base, edits);
            see(&FilterStep {
                place,
                is_response: true,
                filter: entry.filter,
                name: &entry.name,
                kind: entry.compiled.step.kind(),
                outcome: if flow == Flow::Acted { Outcome::Acted } else { Outcome::Passed },
                reason,
                remark: "",
                edits,
            });
        }
    }

    fn request_steps(
        &self,
        context: &Context<'_>,
        edits: &mut Edits,
        mut see: impl FnMut(&Entry, &mut Edits),
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
