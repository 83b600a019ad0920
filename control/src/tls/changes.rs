//! What is logged of certificates and what goes with them: what cannot be used, and what has been renewed.

use std::sync::Arc;

use super::Assembled;
use super::fault::Fault;
use crate::config::UpstreamTrust;
use crate::log;

impl Assembled {
    /// Says what is different from `earlier`.
    pub(super) fn log_changes(&self, earlier: &Self) {
        self.log_certificates(earlier);
        for (path, folder) in &self.folders {
            let before = earlier.folders.get(path).map(|before| before.fault.as_slice());
            for fault in news(folder.fault.as_slice(), before) {
                let says = "a directory of certificates cannot be read";
                log::error!(says, at = self.at(fault), reason = fault);
            }
        }
        for (name, served) in &self.listeners {
            let before = earlier.listeners.get(name).and_then(|before| before.demands.as_ref());
            let faults = served.demands.as_ref().map_or(&[][..], |(_, kept)| &kept.faults);
            for fault in news(faults, before.map(|(_, kept)| &*kept.faults)) {
                let says = "client_auth cannot be renewed, what it was holds on";
                log::error!(says, listener = name, at = self.at(fault), reason = fault);
            }
        }
        for (name, (settings, kept)) in &self.upstreams {
            let before = earlier.upstreams.get(name);
            for fault in news(&kept.faults, before.map(|(_, kept)| &*kept.faults)) {
                let says = "tls of an upstream cannot be renewed, what it was holds on";
                log::error!(says, upstream = name, at = self.at(fault), reason = fault);
            }
            if settings.trust == UpstreamTrust::Anybody && before.is_none_or(|(it, _)| it != settings) {
                log::warning!(
                    "certificates of an upstream are not verified: anybody can be it",
                    upstream = name
                );
            }
        }
    }

    fn log_certificates(&self, earlier: &Self) {
        for (files, kept) in &self.pairs {
            let (before, file) = (earlier.pairs.get(files), files.cert.display());
            for fault in news(&kept.faults, before.map(|before| &*before.faults)) {
                let serves = match kept.serves {
                    Some(_) => "the one before it serves on",
                    None => "it is left out",
                };
                let says = format_args!("a certificate cannot be used, {serves}");
                log::error!(says, file = file, at = self.at(fault), reason = fault);
            }
            let was = before.and_then(|before| before.serves.as_ref());
            if let Some(pair) = &kept.serves
                && was.is_some_and(|was| !Arc::ptr_eq(was, pair))
            {
                let names = pair.facts.names.join(",");
                log::info!("certificate renewed", file = file, names = names, expires = pair.expiry());
            }
        }
        for (files, kept) in &self.staples {
            let before = earlier.staples.get(files).map(|before| &*before.faults);
            for fault in news(&kept.faults, before) {
                let says = "an OCSP response cannot be used, its certificate serves without a new one";
                log::error!(says, file = files.cert.display(), at = self.at(fault), reason = fault);
            }
        }
    }

    /// Where the configuration names the file.
    fn at(&self, fault: &Fault) -> String {
        let listeners = self.listeners.values().map(|served| &served.places);
        let mut all = listeners.chain(self.upstreams.values().map(|(settings, _)| &settings.places));
        all.find_map(|places| places.at(fault.file.as_deref()?)).unwrap_or_default()
    }
}

/// What was not wrong before.
fn news<'a>(faults: &'a [Fault], before: Option<&'a [Fault]>) -> impl Iterator<Item = &'a Fault> {
    faults.iter().filter(move |fault| before.is_none_or(|before| !before.contains(fault)))
}
