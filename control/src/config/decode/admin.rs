//! `[admin]`

use super::listener::Listeners;
use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::types::Admin;
use crate::config::{address, show, value};

pub(super) fn decode(
    section: Option<&Reader<'_>>,
    listeners: &Listeners<'_>,
) -> Result<Option<Admin>, Reported> {
    let Some(section) = section else { return Ok(None) };
    let address = section.required("address", |value| address::listening(value::string(value)?));
    let histograms = section.or_default("histograms", value::boolean);
    let address = address?;
    if let Some(at) = listeners.at(&address) {
        let line = section.report().line(at);
        let shown = show::quoted(&address.to_string());
        let message =
            format!("address {shown} is the address of the listener in line {line}; choose another");
        return Err(section.report().wrong(section.at("address"), message));
    }
    Ok(Some(Admin { address, histograms: histograms? }))
}
