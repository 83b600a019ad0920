//! What the results of active checks make of an endpoint.

/// How results are counted. Both counts are of results in a row: one of the other kind begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// Checks that must pass until it is up. Default 2.
    pub rise: u32,
    /// Checks that must fail until it is down. Default 3.
    pub fall: u32,
    /// What it is before that.
    pub initial: Initial,
}

/// What an endpoint is before it was checked. The first result decides, whatever `rise` and `fall` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// It takes requests.
    #[default]
    Up,
    /// It takes none, so that nothing is sent to what nobody has seen yet.
    Down,
}

impl Default for CheckRules {
    fn default() -> Self {
        Self { rise: 2, fall: 3, initial: Initial::default() }
    }
}

/// The results for one endpoint.
///
/// ```text
///            fall failures in a row
///       up ─────────────────────────► down
///          ◄─────────────────────────
///            rise passes in a row
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Checks {
    is_up: bool,
    /// Whether there was a result.
    is_checked: bool,
    /// Results in a row that speak against what it is.
    against: u32,
}

impl Checks {
    pub(super) fn new(rules: &CheckRules) -> Self {
        Self { is_up: rules.initial == Initial::Up, is_checked: false, against: 0 }
    }

    pub(super) fn record(&mut self, rules: &CheckRules, passed: bool) {
        let needed = match (self.is_checked, self.is_up) {
            (false, _) => 1,
            (true, true) => rules.fall,
            (true, false) => rules.rise,
        };
        self.is_checked = true;
        self.against = if passed == self.is_up { 0 } else { self.against + 1 };
        if self.against >= needed.max(1) {
            (self.is_up, self.against) = (passed, 0);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }
}
