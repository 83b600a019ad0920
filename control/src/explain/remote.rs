//! Asking a running proxy what becomes of a request.

use hyper::StatusCode;

use super::page::{OUTCOME, TAKEN};
use super::{Question, Told, query};
use crate::remote::Admin;

/// What it answers; or why it does not, in a sentence.
pub(super) fn ask(admin: &Admin, question: &Question, json: bool) -> Result<Told, String> {
    let answer = admin.get(&format!("/explain?{}", query::written(question, json)))?;
    let is_taken = answer.fields.get(OUTCOME).map(|outcome| outcome == TAKEN);
    match (answer.status, is_taken) {
        (StatusCode::OK, Some(is_taken)) => Ok(Told { text: answer.text, is_taken }),
        (StatusCode::BAD_REQUEST, _) => Err(answer.text.trim_end().to_owned()),
        (StatusCode::OK | StatusCode::NOT_FOUND, _) => {
            Err(admin.failed(&"it has no /explain; is it the admin address?"))
        }
        (StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => {
            Err(admin.failed(&"the question is too long"))
        }
        (status, _) => Err(admin.failed(&format!("{status}: {}", answer.text.trim_end()))),
    }
}
