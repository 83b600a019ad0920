//! Every type of filter, a file each. A new one is a file and a line in the table below.

mod field_rule;

use crate::context::{Context, ResponseContext};
use crate::edits::Edits;
use crate::filters::Build;
use crate::settings::{Key, Read};

/// What a filter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It had nothing to do.
    Passed,
    /// It changed something.
    Acted,
    /// It answered: [`Edits::answer`] is set.
    Answered,
}

/// A filter, ready to run.
pub(crate) trait Filter: Sized {
    /// What the configuration says.
    type Settings;

    /// Checks and compiles settings; `None` when a problem was noted that leaves nothing to run.
    fn compile(settings: &Self::Settings, build: &mut Build<'_>) -> Option<Self>;

    /// Acts on a request.
    fn request(&self, _context: &Context<'_>, _edits: &mut Edits) -> Flow {
        Flow::Passed
    }

    /// Acts on a response, in [`Edits::response`]. `base` is where its carried texts begin.
    fn response(&self, _context: &ResponseContext<'_>, _base: usize, _edits: &mut Edits) -> Flow {
        Flow::Passed
    }

    /// Takes back a place that it gave.
    fn release(&self, _place: u32) {}

    /// How many bytes its table for all workers takes.
    fn table_bytes(_settings: &Self::Settings) -> u64 {
        0
    }
}

macro_rules! filters {
    ($($variant:ident = $kind:literal in $module:ident,)+) => {
        $(pub mod $module;)+

        /// The settings of a filter of any type.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Settings {
            $(#[doc = concat!("`type = \"", $kind, "\"`")] $variant($module::Settings),)+
        }

        impl Settings {
            /// Every type, as the configuration says it.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];

            /// The keys that a filter of this type has beside `type`.
            #[must_use]
            pub fn keys(kind: &str) -> Option<&'static [Key]> {
                match kind {
                    $($kind => Some($module::KEYS),)+
                    _ => None,
                }
            }

            /// Reads the settings of a filter of this type; `None` if something is wrong, which is told.
            #[must_use]
            pub fn read(kind: &str, table: &dyn Read) -> Option<Self> {
                match kind {
                    $($kind => $module::Settings::read(table).map(Self::$variant),)+
                    _ => None,
                }
            }

            /// The type, as the configuration says it.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)+
                }
            }

            /// How many bytes the filter's table takes, which all workers share; 0 without one.
            #[must_use]
            pub fn table_bytes(&self) -> u64 {
                match self {
                    $(Self::$variant(settings) => <$module::Step as Filter>::table_bytes(settings),)+
                }
            }
        }

        /// A filter of any type.
        #[derive(Debug)]
        pub(crate) enum Step {
            $($variant($module::Step),)+
        }

        impl Step {
            pub(crate) fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
                match settings {
                    $(Settings::$variant(settings) => {
                        <$module::Step as Filter>::compile(settings, build).map(Self::$variant)
                    })+
                }
            }

            pub(crate) const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)+
                }
            }

            pub(crate) fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
                match self {
                    $(Self::$variant(step) => step.request(context, edits),)+
                }
            }

            pub(crate) fn response(
                &self,
                context: &ResponseContext<'_>,
                base: usize,
                edits: &mut Edits,
            ) -> Flow {
                match self {
                    $(Self::$variant(step) => step.response(context, base, edits),)+
                }
            }

            pub(crate) fn release(&self, place: u32) {
                match self {
                    $(Self::$variant(step) => step.release(place),)+
                }
            }
        }
    };
}

filters! {
    RequestFields = "request_fields" in request_fields,
    ResponseFields = "response_fields" in response_fields,
    Rewrite = "rewrite" in rewrite,
    Query = "query" in query,
    Redirect = "redirect" in redirect,
    Respond = "respond" in respond,
    Maintenance = "maintenance" in maintenance,
    Cors = "cors" in cors,
    SecurityHeaders = "security_headers" in security_headers,
    ClientAddresses = "client_addresses" in client_addresses,
    ClientCertificate = "client_certificate" in client_certificate,
    UserAgent = "user_agent" in user_agent,
    Referer = "referer" in referer,
    BodyLimit = "body_limit" in body_limit,
    Timeouts = "timeouts" in timeouts,
    RequestId = "request_id" in request_id,
    RateLimit = "rate_limit" in rate_limit,
    ConcurrencyLimit = "concurrency_limit" in concurrency_limit,
    BasicAuth = "basic_auth" in basic_auth,
    ApiKey = "api_key" in api_key,
}
