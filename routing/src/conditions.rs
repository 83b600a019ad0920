//! What a rule asks of a request beyond its host and path.

use std::net::IpAddr;

use corelane_semantics::MethodSet;
use ipnet::IpNet;

use crate::pattern::Pattern;
use crate::scratch::{Patterns, Scratch};
use crate::{Request, values};

/// Conditions that must all hold. The default one has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// One of these methods, which differ by case; empty: any.
    pub methods: Vec<Box<str>>,
    /// Each of these, of fields: names without regard to case.
    pub headers: Vec<Condition>,
    /// Each of these, of query parameters, decoded.
    pub queries: Vec<Condition>,
    /// Each of these, of cookies.
    pub cookies: Vec<Condition>,
    /// A client in one of these networks; empty: any.
    pub clients: Vec<IpNet>,
    /// Over TLS, or not.
    pub tls: Option<bool>,
}

/// What something with a name must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// The name of the field, parameter or cookie.
    pub name: Box<str>,
    /// What its value must be.
    pub test: Test,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Test {
    /// This.
    Exact(Box<str>),
    /// Something that the regex is found in.
    Regex(Pattern),
    /// Anything, even nothing, but there.
    Present,
    /// Not there.
    Absent,
}

impl Conditions {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those on values with a name, and where these stand.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (Place, &Condition)> {
        let places =
            [(Place::Header, &self.headers), (Place::Query, &self.queries), (Place::Cookie, &self.cookies)];
        places.into_iter().flat_map(|(place, all)| all.iter().map(move |it| (place, it)))
    }

    /// The same conditions in the one order that two equal ones have.
    pub(crate) fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        sorted.methods.sort_unstable();
        sorted.methods.dedup();
        sorted.headers.iter_mut().for_each(|it| it.name = it.name.to_ascii_lowercase().into());
        for conditions in [&mut sorted.headers, &mut sorted.queries, &mut sorted.cookies] {
            conditions.sort_unstable();
            conditions.dedup();
        }
        sorted.clients = IpNet::aggregate(&sorted.clients);
        sorted.clients.sort_unstable();
        sorted
    }
}

impl Test {
    /// Whether a value, or that there is none, is what it asks for. Takes memory for a regex: for explanations.
    pub(crate) fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Exact(exact), Some(value)) => exact.as_bytes() == value,
            (Self::Regex(pattern), Some(value)) => pattern.is_match(value, &mut pattern.cache()),
            (Self::Present, value) => value.is_some(),
            (Self::Absent, value) => value.is_none(),
            (Self::Exact(_) | Self::Regex(_), None) => false,
        }
    }
}

/// Where a named value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Header,
    Query,
    Cookie,
}

impl Place {
    /// The value with a name; `buffer` holds one that does not stand in the head as it is.
    pub(crate) fn value<'a>(
        self,
        name: &[u8],
        request: &Request<'a>,
        buffer: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        match self {
            Self::Header => values::field(request.head, request.bytes, name, buffer),
            Self::Query => request.query().and_then(|query| values::query(query, name, buffer)),
            Self::Cookie => values::cookie(request.head, request.bytes, name),
        }
    }
}

/// [`Conditions`], ready to be tested.
#[derive(Debug)]
pub(crate) struct Compiled {
    methods: Option<MethodSet>,
    values: Box<[(Place, Box<str>, CompiledTest)]>,
    clients: Box<[IpNet]>,
    tls: Option<bool>,
}

#[derive(Debug)]
enum CompiledTest {
    Exact(Box<[u8]>),
    /// By its number among all regexes.
    Regex(usize),
    Present,
    Absent,
}

impl Compiled {
    pub(crate) fn new(conditions: &Conditions, patterns: &mut Patterns) -> Self {
        let values = conditions.placed().map(|(place, condition)| {
            let test = match &condition.test {
                Test::Exact(value) => CompiledTest::Exact(value.as_bytes().into()),
                Test::Regex(pattern) => CompiledTest::Regex(patterns.add(pattern)),
                Test::Present => CompiledTest::Present,
                Test::Absent => CompiledTest::Absent,
            };
            (place, condition.name.clone(), test)
        });
        let methods = conditions.methods.iter().map(|method| method.as_bytes());
        Self {
            methods: (!conditions.methods.is_empty()).then(|| MethodSet::new(methods)),
            values: values.collect(),
            clients: conditions.clients.clone().into(),
            tls: conditions.tls,
        }
    }

    /// What an exact value is asked of first, and the value.
    pub(crate) fn first_exact(&self) -> Option<(Place, &str, &[u8])> {
        self.values.iter().find_map(|(place, name, test)| match test {
            CompiledTest::Exact(value) => Some((*place, &**name, &**value)),
            _ => None,
        })
    }

    /// Whether all hold.
    pub(crate) fn hold(&self, request: &Request<'_>, patterns: &Patterns, scratch: &mut Scratch) -> bool {
        self.tls.is_none_or(|tls| tls == request.tls)
            && self.methods.as_ref().is_none_or(|set| set.contains(request.head.method, request.method()))
            && (self.clients.is_empty() || is_within(&self.clients, request.client))
            && self.values.iter().all(|(place, name, test)| {
                let Scratch { caches, buffer, .. } = &mut *scratch;
                let value = place.value(name.as_bytes(), request, buffer);
                match (test, value) {
                    (CompiledTest::Present, value) => value.is_some(),
                    (CompiledTest::Absent, value) => value.is_none(),
                    (CompiledTest::Exact(exact), Some(value)) => **exact == *value,
                    (CompiledTest::Regex(pattern), Some(value)) => patterns.is_match(*pattern, value, caches),
                    (CompiledTest::Exact(_) | CompiledTest::Regex(_), None) => false,
                }
            })
    }
}

/// Whether an address is in one of the networks. An IPv4 address in IPv6 form is what it stands for.
pub(crate) fn is_within(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    let Some(address) = address.map(|address| address.to_canonical()) else { return false };
    networks.iter().any(|network| network.contains(&address))
}
