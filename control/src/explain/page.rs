//! `/explain` of the admin server.

use super::{Told, query};
use crate::status::Status;

/// The field that says whether the request is taken, for who asks by program: `taken` or `not_taken`.
pub(crate) const OUTCOME: &str = "corelane-outcome";
pub(crate) const TAKEN: &str = "taken";
pub(crate) const NOT_TAKEN: &str = "not_taken";

/// What is answered.
pub(crate) struct Page {
    pub(crate) json: bool,
    pub(crate) result: Result<Told, Refusal>,
}

/// Why nothing is explained.
pub(crate) enum Refusal {
    /// The question is wrong, or the request is.
    Wrong(String),
    /// No configuration is in force.
    NotServing,
}

/// Answers a query; `accepts_json` where the query does not say the format.
pub(crate) fn answer(text: &str, accepts_json: bool, status: &Status) -> Page {
    let query = match query::read(text) {
        Ok(query) => query,
        Err(reason) => return Page { json: false, result: Err(Refusal::Wrong(reason)) },
    };
    let json = query.json.unwrap_or(accepts_json);
    let result = status.newest().ok_or(Refusal::NotServing).and_then(|(config, snapshot)| {
        let running = super::Running { snapshot: &snapshot, healths: &status.healths };
        let explained = super::explain_running(&config, running, &query.question);
        explained.map(|explained| explained.told(json)).map_err(Refusal::Wrong)
    });
    Page { json, result }
}
