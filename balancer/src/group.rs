//! The endpoints of one upstream as the configuration has them: made once for all workers, never changed.

use std::sync::Arc;

use crate::maglev::{Maglev, TableSize};

/// How an endpoint is chosen among those that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each in turn, weights ignored (but 0).
    #[default]
    RoundRobin,
    /// Smooth weighted round robin.
    Weighted,
    /// By chance, in proportion to the weights.
    Random,
    /// The fewest outstanding requests in proportion to the weight.
    LeastConnections,
    /// Two by chance, and of them the one with fewer outstanding requests in proportion to its weight.
    P2c,
    /// Two by chance, and of them the one that is expected to answer first: latency, and those that wait there already.
    Ewma,
    /// Two by chance, and of them rather the one with fewer bytes per second in proportion to its weight.
    LeastBandwidth,
    /// The same endpoint for the same key ([`Maglev`]); by chance without a key.
    Hash,
}

impl Policy {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::Weighted,
        Self::Random,
        Self::LeastConnections,
        Self::P2c,
        Self::Ewma,
        Self::LeastBandwidth,
        Self::Hash,
    ];

    /// Its word in configurations and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::P2c => "p2c",
            Self::Ewma => "ewma",
            Self::LeastBandwidth => "least_bandwidth",
            Self::Hash => "hash",
        }
    }
}

/// An endpoint. Its index among the members is what a pick returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is, over reloads and on every machine: the [`fingerprint`](crate::fingerprint) of its address. Members with
    /// the same name are taken for the same endpoint.
    pub name: u64,
    /// Its share; 0 takes no new work and keeps its sessions ([`Picker::keeps_sessions`](crate::Picker::keeps_sessions)).
    pub weight: u32,
    /// Who is asked first: the lowest number of which enough are available. Backups have a higher one.
    pub priority: u32,
}

/// What is set for a whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRules {
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// Where fewer than so many percent of a priority's endpoints are available, the next priority takes over; where this
    /// holds for all, every endpoint of the first is used, available or not (panic). 0, the default: one is enough, and
    /// none is an error at once. At most 100.
    pub panic_percent: u8,
    /// Slots of the table of [`Policy::Hash`].
    pub table_size: TableSize,
    /// Changes which endpoint keys belong to. Default 0; the same on all machines that are to agree.
    pub table_seed: u64,
}

impl Default for GroupRules {
    fn default() -> Self {
        Self { policy: Policy::default(), panic_percent: 0, table_size: TableSize::DEFAULT, table_seed: 0 }
    }
}

/// See the module. A clone shares the tables.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) rules: GroupRules,
    /// By rising priority; each has a member.
    pub(crate) levels: Arc<[Level]>,
    pub(crate) members: usize,
}

/// The members of one priority.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) priority: u32,
    /// With their indices.
    pub(crate) members: Box<[(usize, Member)]>,
    /// For [`Policy::Hash`]; its entries are positions in `members`.
    pub(crate) table: Option<Arc<Maglev>>,
}

impl Group {
    /// Takes some milliseconds for each priority with [`Policy::Hash`], nothing otherwise.
    #[must_use]
    pub fn new(rules: GroupRules, members: &[Member]) -> Self {
        let mut priorities: Vec<u32> = members.iter().map(|member| member.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let level = |&priority: &u32| {
            let of_it = members.iter().copied().enumerate().filter(|(_, member)| member.priority == priority);
            let of_it: Box<[(usize, Member)]> = of_it.collect();
            let table = (rules.policy == Policy::Hash).then(|| {
                let names: Vec<_> = of_it.iter().map(|(_, member)| (member.name, member.weight)).collect();
                Arc::new(Maglev::new(&names, rules.table_size, rules.table_seed))
            });
            Level { priority, members: of_it, table }
        };
        Self { rules, levels: priorities.iter().map(level).collect(), members: members.len() }
    }

    /// Members of one priority with these weights, whose names are their indices.
    #[must_use]
    pub fn of_weights(policy: Policy, weights: &[u32]) -> Self {
        let member = |(index, &weight)| Member { name: index as u64, weight, priority: 0 };
        let members: Vec<_> = weights.iter().enumerate().map(member).collect();
        Self::new(GroupRules { policy, ..GroupRules::default() }, &members)
    }

    /// How an endpoint is chosen.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.rules.policy
    }
}
